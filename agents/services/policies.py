"""The approval policy: rules, standing answers and reviewers on their levels, compiled for those who apply it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Q

from agenthub_site.accounts.permissions import TABLE, Can

from ..models import Agent, Run
from ..rules import PolicyReview

PEOPLE_AFTER_SECONDS: Final = 120
"""So long a reviewing agent has before people are asked, unless a level says otherwise."""


@dataclass(frozen=True, slots=True)
class Review:
    """Who answers what a run asks. ``agent_id`` first if there is one, and people after ``people_after_seconds``.

    ``roles`` are those of people that may answer, root operators beside them. ``agent_id`` is never the run's own
    agent. Without an agent people are asked at once, and ``people_after_seconds`` is 0.
    """

    roles: frozenset[str]
    agent_id: UUID | None
    people_after_seconds: int
    expires_seconds: float


def review_of(run: Run) -> Review:
    """Who answers what the run asks, as of now. One query beside ``run.agent``."""
    return reviews_of([run.agent])[run.agent_id]


def reviews_of(agents: Iterable[Agent]) -> dict[UUID, Review]:
    """The same for the runs of many agents, by their ids, in one query."""
    held = {agent.pk: agent for agent in agents}
    projects = {agent.project_id for agent in held.values()}
    on_levels = Q(agent__in=held) | Q(agent=None, project__in=projects) | Q(agent=None, project=None)
    found = list(PolicyReview.objects.filter(on_levels).select_related("reviewer"))
    return {agent.pk: _narrowed(agent, found) for agent in held.values()}


def _narrowed(agent: Agent, found: Iterable[PolicyReview]) -> Review:
    """From the instance down: roles and times only narrow; an agent answers only where no level above names roles."""
    by_level = {(row.project_id, row.agent_id): row for row in found}
    keys: list[tuple[UUID | None, UUID | None]] = [(None, None), (agent.project_id, None), (agent.project_id, agent.pk)]
    roles = TABLE[Can.ANSWER_APPROVAL].roles - {"agent"}
    expires, after, is_for_people = float(agent.approval_seconds), PEOPLE_AFTER_SECONDS, False
    reviewer: UUID | None = None
    for row in (by_level[key] for key in keys if key in by_level):
        if row.reviewer and not is_for_people and _may_review(row.reviewer, agent):
            reviewer = row.reviewer.pk
        after = row.people_after_seconds or after
        if row.roles:
            roles, is_for_people = roles & set(row.roles) or roles, True
        expires = min(expires, row.expires_seconds or expires)
    return Review(roles, reviewer, int(min(after, expires)) if reviewer else 0, expires)


def _may_review(reviewer: Agent, agent: Agent) -> bool:
    return reviewer.pk != agent.pk and reviewer.project_id == agent.project_id and reviewer.archived_at is None
