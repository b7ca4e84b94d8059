"""One's own tokens: made, shown once, revoked."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from agenthub_site.accounts import tokens as services
from agenthub_site.accounts.models import Token
from nodes.contract.errors import HubError

from .doors import PageRequest, page, show_in_form
from .forms import TokenForm


@never_cache
@require_http_methods(["GET", "POST"])
@page
def tokens(request: PageRequest) -> HttpResponse:
    """A new token's secret is in the answer to the request that made it, and nowhere else."""
    form, secret = TokenForm(request.POST or None, actor=request.actor), ""
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            _, secret = services.create_token(
                request.user, given["name"], by=request.actor, expires_at=form.expires_at(),
                scope=given["scope"], project=given["project"],
            )  # fmt: skip
        except HubError as error:
            show_in_form(form, error)
        else:
            form = TokenForm(actor=request.actor)
    mine = Token.objects.filter(user=request.user).select_related("project").order_by("revoked_at", "-created_at")
    context = {"form": form, "secret": secret, "tokens": mine, "now": timezone.now()}
    return render(request, "pages/tokens.html", context, status=400 if form.errors else 200)


@require_POST
@page
def revoke_token(request: PageRequest, token_id: UUID) -> HttpResponse:
    token = get_object_or_404(Token, user=request.user, pk=token_id)
    services.revoke_token(token, by=request.actor)
    messages.success(request, f"The token {token.name} no longer works.")
    return redirect("tokens")
