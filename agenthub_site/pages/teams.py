"""A project's teams, on its page of people."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from agents.teams import services
from agents.teams.models import Team
from nodes.contract.errors import HubError

from .doors import PageRequest, page, show_in_form, tell
from .forms import TeamForm, TeamMembersForm
from .people import show_people, team_project


@require_POST
@page
def add_team(request: PageRequest, slug: str) -> HttpResponse:
    project, form = team_project(request, slug), TeamForm(request.POST, auto_id="team_%s")
    if form.is_valid():
        try:
            team = services.create_team(project, by=request.actor, **form.cleaned_data)
        except HubError as error:
            show_in_form(form, error)
        else:
            return _back_to(team, slug)
    return show_people(request, project, team_form=form)


@require_POST
@page
def add_to_team(request: PageRequest, slug: str, team_id: UUID) -> HttpResponse:
    project, form = team_project(request, slug), TeamMembersForm(request.POST)
    team = get_object_or_404(Team, project=project, pk=team_id)
    if form.is_valid():
        try:
            services.add_to_team(team, form.cleaned_data["members"], by=request.actor)
        except HubError as error:
            show_in_form(form, error)
        else:
            return _back_to(team, slug)
    return show_people(request, project, team_members_form=form, filled_team=team.pk)


@require_POST
@page
def remove_from_team(request: PageRequest, slug: str, team_id: UUID) -> HttpResponse:
    team = get_object_or_404(Team, project=team_project(request, slug), pk=team_id)
    try:
        services.remove_from_team(team, [request.POST.get("member", "")], by=request.actor)
    except HubError as error:
        tell(request, error)
    return _back_to(team, slug)


@require_POST
@page
def delete_team(request: PageRequest, slug: str, team_id: UUID) -> HttpResponse:
    team = get_object_or_404(Team, project=team_project(request, slug), pk=team_id)
    try:
        services.delete_team(team, by=request.actor)
    except HubError as error:
        tell(request, error)
    else:
        messages.success(request, f"team:{team.slug} is gone. What was written to it stays.")
    return redirect("people", slug)


def _back_to(team: Team, slug: str) -> HttpResponse:
    return redirect(f"{reverse('people', args=[slug])}#team-{team.slug}")
