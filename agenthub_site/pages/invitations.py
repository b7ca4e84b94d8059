"""Coming in by an invitation. The owners' side of it is ``people``."""

from typing import Final

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from agenthub_site.accounts import invitations as services
from agenthub_site.accounts.authentication import request_actor, request_address
from agenthub_site.accounts.models import Invitation, User
from agenthub_site.accounts.people_api import bound_tries
from nodes.contract.errors import HubError

from .doors import show_in_form
from .forms import InvitedForm

KEPT: Final = "invitation"


@never_cache
@require_GET
def come_in(request: HttpRequest, secret: str) -> HttpResponse:
    """Take the link's secret out of the address, where logs and other sites would see it, into the session."""
    bound_tries(request)
    services.find_invitation(secret)
    request.session[KEPT] = secret
    return redirect("invitation")


@never_cache
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest) -> HttpResponse:
    """Accept as who is signed in, or with a new account. How one signs in is the sign-in page's business."""
    secret = request.session.get(KEPT, "")
    found = services.find_invitation(secret)
    is_signed_in = isinstance(request.user, User)
    form = None if is_signed_in else InvitedForm(request.POST or None)
    problem = ""
    if request.method == "POST":
        bound_tries(request)
        try:
            if isinstance(request.user, User):
                services.accept_invitation(secret, request.user, request_actor(request))
            elif form is not None and form.is_valid():
                given = form.cleaned_data
                address = request_address(request)
                services.accept_with_new_account(secret, given["username"], given["password"], address=address)
        except HubError as error:
            if form is not None:
                show_in_form(form, error)
            else:
                problem = error.text
        else:
            if form is None or form.is_valid():
                del request.session[KEPT]
                return _welcome(request, found)
    context = {"invitation": found, "form": form, "problem": problem, "login_url": settings.LOGIN_URL}
    status = 400 if problem or (form is not None and form.errors) else 200
    return render(request, "pages/projects/invitation.html", context, status=status)


def _welcome(request: HttpRequest, found: Invitation) -> HttpResponse:
    messages.success(request, f"You belong to {found.project.name} now, as its {found.role}.")
    return redirect("project", found.project.slug)
