"""Who belongs to a project: its members, whom one invites, the accounts and tokens of programs; and its teams."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from agenthub_site.accounts import invitations, services
from agenthub_site.accounts import tokens as token_services
from agenthub_site.accounts.models import Invitation, Membership, Project, Token, User
from agenthub_site.accounts.permissions import Can, may, require
from agents.models import Agent
from agents.teams.models import Team
from agents.teams.queries import with_members
from nodes.contract.errors import HubError

from .doors import PageRequest, page, show_in_form, tell
from .forms import InviteForm, MemberForm, ProgramTokenForm, ServiceForm, TeamForm, TeamMembersForm

INVITATIONS = 50
OFFERED = 500


def _project(request: PageRequest, slug: str) -> Project:
    """One whose people the actor may manage."""
    found: Project = get_object_or_404(Project.objects.visible_to(request.actor), slug=slug)
    require(request.actor, Can.MANAGE_MEMBERS, found.pk)
    return found


@never_cache
@require_GET
@page
def people(request: PageRequest, slug: str) -> HttpResponse:
    return show_people(request, team_project(request, slug))


def team_project(request: PageRequest, slug: str) -> Project:
    """One whose teams the actor may manage; whose people, only its owners may."""
    found: Project = get_object_or_404(Project.objects.visible_to(request.actor), slug=slug)
    require(request.actor, Can.MANAGE_TEAMS, found.pk)
    return found


def show_people(request: PageRequest, project: Project, **more: Any) -> HttpResponse:
    """To who manages members all of it, to others members and teams. Eight queries.

    A new link or token is in the answer to the request that made it, and nowhere else.
    """
    may_manage = may(request.actor, Can.MANAGE_MEMBERS, project.pk)
    members = Membership.objects.filter(project=project).select_related("user").order_by("user__username")
    programs = {member.user_id: member for member in members if member.user.service_of_id}
    for member in programs.values():
        member.tokens = []  # type: ignore[attr-defined]
    for token in Token.objects.filter(user__in=programs, revoked_at=None):
        programs[token.user_id].tokens.append(token)  # type: ignore[attr-defined, index]
    people = [member for member in members if member.user_id not in programs]
    agents = Agent.objects.filter(project=project, archived_at=None).order_by("name")[:OFFERED]
    sent = Invitation.objects.filter(project=project).select_related("invited_by", "accepted_by")
    context = {
        "project": project,
        "may_manage": may_manage,
        "people": people,
        "programs": list(programs.values()) if may_manage else [],
        "invitations": sent[:INVITATIONS] if may_manage else [],
        "teams": with_members(Team.objects.filter(project=project).order_by("slug")),
        "may_be_added": [*(agent.name for agent in agents), *(f"user:{member.user.username}" for member in people)],
        "member_form": MemberForm(auto_id="member_%s"),
        "invite_form": InviteForm(auto_id="invite_%s"),
        "service_form": ServiceForm(auto_id="service_%s"),
        "token_form": ProgramTokenForm(),
        "team_form": TeamForm(auto_id="team_%s"),
        "team_members_form": TeamMembersForm(),
        "now": timezone.now(),
        **more,
    }
    is_wrong = any(getattr(form, "is_bound", False) and form.errors for form in more.values())
    return render(request, "pages/projects/people.html", context, status=400 if is_wrong else 200)


@require_POST
@page
def add_member(request: PageRequest, slug: str) -> HttpResponse:
    project, form = _project(request, slug), MemberForm(request.POST, auto_id="member_%s")
    if form.is_valid():
        try:
            services.add_member(project, form.user(), form.cleaned_data["role"], by=request.actor)
        except HubError as error:
            show_in_form(form, error)
        else:
            return redirect("people", slug)
    return show_people(request, project, member_form=form)


@require_POST
@page
def remove_member(request: PageRequest, slug: str, membership_id: UUID) -> HttpResponse:
    project = _project(request, slug)
    membership = get_object_or_404(project.memberships.select_related("user"), pk=membership_id)
    try:
        services.remove_member(project, membership.user, by=request.actor)
    except HubError as error:
        if error.http == 403:
            raise
        tell(request, error)
    return redirect("projects") if membership.user_id == request.user.pk else redirect("people", slug)


@never_cache
@require_POST
@page
def invite(request: PageRequest, slug: str) -> HttpResponse:
    project, form = _project(request, slug), InviteForm(request.POST, auto_id="invite_%s")
    if form.is_valid():
        try:
            _, secret = invitations.invite(project, by=request.actor, **form.cleaned_data)
        except HubError as error:
            show_in_form(form, error)
        else:
            return show_people(request, project, link=request.build_absolute_uri(f"/invitations/{secret}/"))
    return show_people(request, project, invite_form=form)


@require_POST
@page
def withdraw(request: PageRequest, slug: str, invitation_id: UUID) -> HttpResponse:
    found = get_object_or_404(Invitation, project=_project(request, slug), pk=invitation_id)
    try:
        invitations.revoke_invitation(found, by=request.actor)
    except HubError as error:
        tell(request, error)
    return redirect("people", slug)


@require_POST
@page
def add_service(request: PageRequest, slug: str) -> HttpResponse:
    project, form = _project(request, slug), ServiceForm(request.POST, auto_id="service_%s")
    if form.is_valid():
        try:
            made = services.create_service_account(project, by=request.actor, **form.cleaned_data)
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, f"{made.username} is a member. Make a token for it.")
            return redirect("people", slug)
    return show_people(request, project, service_form=form)


@never_cache
@require_POST
@page
def add_token(request: PageRequest, slug: str, user_id: UUID) -> HttpResponse:
    """Of a service account."""
    project = _project(request, slug)
    account = get_object_or_404(User, service_of=project, pk=user_id)
    form = ProgramTokenForm(request.POST)
    if form.is_valid():
        try:
            _, secret = token_services.create_token(account, by=request.actor, **form.made())
        except HubError as error:
            show_in_form(form, error)
        else:
            return show_people(request, project, secret=secret, secret_of=account.username)
    return show_people(request, project, token_form=form, token_for=account.pk)


@require_POST
@page
def revoke(request: PageRequest, slug: str, program_token_id: UUID) -> HttpResponse:
    """A service account's token."""
    token = get_object_or_404(Token, user__service_of=_project(request, slug), pk=program_token_id)
    token_services.revoke_token(token, by=request.actor)
    messages.success(request, f"The token {token.name} no longer works.")
    return redirect("people", slug)
