"""The approval policy as those need it who apply it: compiled for agents, and who answers what is asked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from agenthub_site.accounts.actors import AGENT_ROLE
from agenthub_site.accounts.permissions import TABLE, Can
from nodes.contract import own_tools
from nodes.contract.policy import Grant, Level, Policy, Rule

from ..models import Agent, Run
from ..rules import Matching, PolicyGrant, PolicyReview, PolicyRule

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


class Terms(NamedTuple):
    """What a run is started with."""

    policy: Policy
    review: Review


def review_of(run: Run) -> Review:
    """Who answers what the run asks, as of now. One query beside ``run.agent``."""
    return reviews_of([run.agent])[run.agent_id]


def reviews_of(agents: Iterable[Agent]) -> dict[UUID, Review]:
    """The same for the runs of many agents, by their ids, in one query."""
    held = list(agents)
    found = {(row.project_id, row.agent_id): row for row in _of(PolicyReview, held).select_related("reviewer")}
    return {agent.pk: _narrowed(agent, [found[key] for key in _levels(agent) if key in found]) for agent in held}


def compile_policy(agent: Agent) -> Policy:
    """What applies to the agent's runs: rules of the instance, its project and its own, and grants. Two queries."""
    return compile_policies([agent])[agent.pk]


def compile_project(project_id: UUID) -> Policy:
    """What applies to any agent of the project that has neither rules nor grants of its own."""
    return compile_policy(Agent(project_id=project_id))


def compile_policies(agents: Iterable[Agent], now: datetime | None = None) -> dict[UUID, Policy]:
    """The same for many agents, by their ids. Two queries."""
    held, now = list(agents), now or timezone.now()
    rules: dict[_Key, list[Rule]] = {}
    for row in _of(PolicyRule, held).filter(is_enabled=True):
        rules.setdefault((row.project_id, row.agent_id), []).append(as_rule(row))
    grants: dict[_Key, list[Grant]] = {}
    for row in _of(PolicyGrant, held).filter(expires_at__gt=now):
        grants.setdefault((row.project_id, row.agent_id), []).append(as_grant(row, now))
    compiled = {}
    for agent in held:
        keys = _levels(agent)
        levels = [
            Level(name=name, rules=tuple(rules[key])) for name, key in zip(_NAMES, keys, strict=True) if key in rules
        ]
        levels += [own_tools.LEVEL] if agent.mcp else []
        compiled[agent.pk] = Policy.of(levels, [grant for key in keys for grant in grants.get(key, ())])
    return compiled


def terms_of(agents: Iterable[Agent]) -> dict[UUID, Terms]:
    """What runs of these agents are started with. Three queries."""
    held = list({agent.pk: agent for agent in agents}.values())
    policies, reviews = compile_policies(held), reviews_of(held)
    return {agent.pk: Terms(policies[agent.pk], reviews[agent.pk]) for agent in held}


def as_rule(row: PolicyRule) -> Rule:
    """Raises ``pydantic.ValidationError`` for what no node would take."""
    return Rule.model_validate({**_matcher(row), "id": str(row.pk), "verdict": row.verdict, "is_strict": row.is_strict})


def as_grant(row: PolicyGrant, now: datetime) -> Grant:
    """As it is sent at ``now``. Raises ``pydantic.ValidationError``."""
    left = (row.expires_at - now).total_seconds()
    return Grant.model_validate(
        {
            **_matcher(row),
            "id": str(row.pk),
            "author": row.author_label,
            "expires_at": row.expires_at,
            "seconds_left": left,
        }
    )


_Key = tuple[UUID | None, UUID | None]
_NAMES: Final = ("instance", "project", "agent")


def _levels(agent: Agent) -> list[_Key]:
    return [(None, None), (agent.project_id, None), (agent.project_id, agent.pk)]


def _of(model: Any, agents: Sequence[Agent]) -> Any:
    """The rows on the levels of these agents, in order."""
    projects = {agent.project_id for agent in agents}
    on_project = Q(agent=None) & (Q(project=None) | Q(project__in=projects))
    return model.objects.filter(Q(agent__in=[agent.pk for agent in agents]) | on_project)


def _matcher(row: Matching) -> dict[str, Any]:
    return {
        "kind": row.kind or None, "tool": row.tool, "path": row.path, "command": row.command, "host": row.host
    }  # fmt: skip


def _narrowed(agent: Agent, rows: Iterable[PolicyReview]) -> Review:
    """From the instance down: roles and times only narrow; an agent answers only where no level above names roles."""
    roles = TABLE[Can.ANSWER_APPROVAL].roles - {AGENT_ROLE}
    expires, after, is_for_people = float(agent.approval_seconds), PEOPLE_AFTER_SECONDS, False
    reviewer: UUID | None = None
    for row in rows:
        if row.reviewer and not is_for_people and _may_review(row.reviewer, agent):
            reviewer = row.reviewer.pk
        after = row.people_after_seconds or after
        if row.roles:
            roles, is_for_people = roles & set(row.roles) or roles, True
        expires = min(expires, row.expires_seconds or expires)
    return Review(roles, reviewer, int(min(after, expires)) if reviewer else 0, expires)


def _may_review(reviewer: Agent, agent: Agent) -> bool:
    return reviewer.pk != agent.pk and reviewer.project_id == agent.project_id and reviewer.archived_at is None
