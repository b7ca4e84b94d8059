"""Coming in by an invitation, and the owners' side of it: who is asked, and the accounts of programs."""

from typing import Final
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agenthub_site.accounts import invitations as services
from agenthub_site.accounts.authentication import request_actor, request_address
from agenthub_site.accounts.models import Invitation, Project, User
from agenthub_site.accounts.people_api import bound_tries
from agenthub_site.accounts.permissions import Can, require
from nodes.contract.errors import HubError

from .doors import PageRequest, page, show_in_form, tell
from .forms import InvitedForm, InviteForm

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


@never_cache
@require_http_methods(["GET", "POST"])
@page
def invitations(request: PageRequest, slug: str) -> HttpResponse:
    """A new link is in the answer to the request that made it, and nowhere else."""
    project = get_object_or_404(Project.objects.visible_to(request.actor), slug=slug)
    require(request.actor, Can.MANAGE_MEMBERS, project.pk)
    form, link = InviteForm(request.POST or None), ""
    if request.method == "POST" and form.is_valid():
        try:
            _, secret = services.invite(project, by=request.actor, **form.cleaned_data)
        except HubError as error:
            show_in_form(form, error)
        else:
            link = request.build_absolute_uri(f"/invitations/{secret}/")
            form = InviteForm()
    sent = Invitation.objects.filter(project=project).select_related("invited_by", "accepted_by")[:200]
    context = {"project": project, "form": form, "link": link, "invitations": sent}
    return render(request, "pages/projects/invitations.html", context, status=400 if form.errors else 200)


@require_POST
@page
def withdraw(request: PageRequest, slug: str, invitation_id: UUID) -> HttpResponse:
    project = get_object_or_404(Project.objects.visible_to(request.actor), slug=slug)
    require(request.actor, Can.MANAGE_MEMBERS, project.pk)
    found = get_object_or_404(Invitation, project=project, pk=invitation_id)
    try:
        services.revoke_invitation(found, by=request.actor)
    except HubError as error:
        tell(request, error)
    return redirect("invitations", slug)
