"""Reads of teams that more than one door needs."""

from uuid import UUID

from django.db.models import F, Prefetch, Q, QuerySet

from mailboxes.addresses import Address

from .models import Team, TeamMember


def in_order(members: QuerySet[TeamMember]) -> QuerySet[TeamMember]:
    """Agents first, then people, each by name."""
    return members.order_by(F("agent__name").asc(nulls_last=True), "membership__user__username")


def with_members(teams: QuerySet[Team]) -> QuerySet[Team]:
    """Each with its project and its members, in two queries for all."""
    members = in_order(TeamMember.objects.select_related("agent", "membership__user"))
    return teams.select_related("project").prefetch_related(Prefetch("members", members))


def addresses_in(project_id: UUID, slug: str) -> list[Address]:
    """Who gets what is written to the team now. In one statement: of a team that is being deleted, all or nobody."""
    members = TeamMember.objects.filter(
        Q(agent__isnull=False, agent__archived_at=None) | Q(membership__user__is_active=True),
        team__project=project_id,
        team__slug=slug,
    )
    rows = in_order(members).values_list("agent", "membership__user")
    return [Address.of("agent", agent) if agent else Address.of("user", user) for agent, user in rows]
