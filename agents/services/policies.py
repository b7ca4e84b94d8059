"""Change the approval policy: rules, standing answers and reviewers on their levels.

Whoever changes one holds the policy's lock until the end of the transaction, and whoever starts a run shares it: a run
starts with what holds, or is told of the change like every live run that it concerns.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from pydantic import ValidationError

from agenthub_site.accounts.actors import SYSTEM, Actor
from agenthub_site.accounts.models import Membership, Project, Role, User
from agenthub_site.accounts.permissions import TABLE, Can, require
from audit.services import record
from nodes import outbox
from nodes.contract.commands import SetPolicy
from nodes.contract.errors import Conflict, Invalid
from nodes.contract.ids import uuid_of
from nodes.contract.policy import GRANTS, RULES, Verdict

from ..models import Agent, Run
from ..rules import Matching, OnLevel, PolicyGrant, PolicyReview, PolicyRule
from ..states import ON_NODE
from .compiling import Review, as_grant, as_rule, compile_policies, compile_policy, review_of, reviews_of

__all__ = ["Review", "compile_policy", "review_of", "reviews_of"]

LEVEL_BYTES: Final = 24 * 1024
"""The rules of a level at most, as they are sent: a command to a node has to fit one frame."""
GRANT_BYTES: Final = 16 * 1024
"""The grants of a level at most."""
GRANT_DAYS, MOST_GRANT_DAYS = 30, 365
MOST_SECONDS: Final = 7 * 86_400
"""Of a reviewing agent's time, and of a question's."""
REVIEWING_ROLES: Final = TABLE[Can.ANSWER_APPROVAL].roles & set(Role.values)
_LOCK: Final = 0x41485052  # an advisory lock's number is its name
_AT_ONCE: Final = 500
_MATCHED: Final = frozenset({"kind", "tool", "path", "command", "host"})
_EDITABLE: Final = _MATCHED | {"verdict", "is_strict", "is_enabled", "note"}


_Live = tuple[UUID, UUID, UUID]
"""A run, its node and its agent."""


class PolicyFull(Conflict):
    code = "policy_full"
    message = "This level holds as much as can be sent to a node. Remove or join what is there."


@transaction.atomic
def add_rule(
    project: Project | None, agent: Agent | None = None, *, by: Actor, position: int | None = None, **fields: Any
) -> PolicyRule:
    """Add a rule to the instance (without a project), a project, or an agent of it: at the end, or at ``position``.

    Raises ``Invalid`` with ``fields``, and ``PolicyFull``. Live runs are told, as by all that follow here.
    """
    rule = PolicyRule(project=project, agent=agent, **author_of(by), **_known(fields))
    runs = _begin(rule, by)
    _check_rule(rule)
    others = list(_level_of(rule))
    at = len(others) if position is None else max(0, min(position, len(others)))
    rule.position = at
    rule.save(force_insert=True)
    _renumber([*others[:at], rule, *others[at:]])
    _check_size(rule)
    tell_runs(runs)
    _record("policy.rule_added", rule, by, **_said(rule))
    return rule


@transaction.atomic
def edit_rule(rule: PolicyRule, *, by: Actor, **changes: Any) -> PolicyRule:
    """Change what a rule says; its place stays. Raises as ``add_rule`` does."""
    runs = _begin(rule, by)
    rule = PolicyRule.objects.get(pk=rule.pk)
    before = _said(rule)
    for name, value in _known(changes).items():
        setattr(rule, name, value)
    _check_rule(rule)
    rule.save(update_fields=[*changes, "updated_at"])
    _check_size(rule)
    if changes.keys() - {"note"}:
        tell_runs(runs)
    _record("policy.rule_edited", rule, by, before=before, **_said(rule))
    return rule


@transaction.atomic
def move_rule(rule: PolicyRule, *, by: Actor, position: int) -> PolicyRule:
    """Put a rule at another place of its level, from 0."""
    runs = _begin(rule, by)
    rules: list[PolicyRule] = list(_level_of(rule))
    found = next(other for other in rules if other.pk == rule.pk)
    rules.remove(found)
    rules.insert(max(0, min(position, len(rules))), found)
    _renumber(rules)
    tell_runs(runs)
    _record("policy.rule_moved", found, by, **_said(found))
    return found


@transaction.atomic
def remove_rule(rule: PolicyRule, *, by: Actor) -> None:
    """Take a rule away. Twice is once."""
    runs = _begin(rule, by)
    said = _said(rule)
    if not PolicyRule.objects.filter(pk=rule.pk).delete()[0]:
        return
    _renumber(list(_level_of(rule)))
    tell_runs(runs)
    _record("policy.rule_removed", rule, by, **said)


@transaction.atomic
def add_grant(
    project: Project, agent: Agent | None = None, *, by: Actor, days: int = GRANT_DAYS, **fields: Any
) -> PolicyGrant:
    """Answer for ``days`` what is asked and matches; never what is denied, or asked each time.

    Raises ``Invalid`` with ``fields``, and ``PolicyFull``.
    """
    grant = PolicyGrant(project=project, agent=agent, **author_of(by), **_known(fields, _MATCHED | {"note"}))
    runs = _begin(grant, by)
    store_grants([grant], by=by, days=days)
    tell_runs(runs)
    return grant


def store_grants(grants: Sequence[PolicyGrant], *, by: Actor, days: int) -> None:
    """Write grants of one level. In a transaction that has begun with ``begin_change``, and will ``tell_runs``."""
    if not 1 <= days <= MOST_GRANT_DAYS:
        raise _invalid({"days": [f"A standing answer ends after 1 to {MOST_GRANT_DAYS} days."]})
    now = timezone.now()
    for grant in grants:
        grant.expires_at = now + timedelta(days=days)
        if not any(getattr(grant, name) for name in _MATCHED - {"kind"}):
            raise _invalid({"command": ["Say what is allowed: a tool, path, command or host."]})
        _validated(grant, now)
        grant.save(force_insert=True)
    _check_size(grants[0])
    for grant in grants:
        _record("policy.grant_added", grant, by, expires_at=grant.expires_at, **_said(grant))


@transaction.atomic
def remove_grant(grant: PolicyGrant, *, by: Actor) -> None:
    """Withdraw a standing answer: from now on that is asked again. Twice is once."""
    runs = _begin(grant, by)
    said = _said(grant)
    if PolicyGrant.objects.filter(pk=grant.pk).delete()[0]:
        tell_runs(runs)
        _record("policy.grant_removed", grant, by, **said)


def end_grants(now: datetime) -> int:
    """Take away grants that have ended, and those of people who may not give any in their project any more, level by
    level. Nodes stop to apply the former by themselves, and hear of the latter. Returns how many.
    """
    over = Q(expires_at__lte=now)
    ending = PolicyGrant.objects.filter(over | _of_those_who_may_not()).order_by()
    ended = 0
    for project_id, agent_id in list(ending.values_list("project", "agent").distinct()[:_AT_ONCE]):
        with transaction.atomic():
            runs = begin_change(project_id, agent_id)
            grants = list(ending.filter(project=project_id, agent=agent_id))
            PolicyGrant.objects.filter(pk__in=[grant.pk for grant in grants]).delete()
            tell_runs(runs)
            for grant in grants:
                is_over = grant.expires_at <= now
                why = {} if is_over else {"reason": "author_may_not"}
                _record(f"policy.grant_{'expired' if is_over else 'removed'}", grant, SYSTEM, **_said(grant), **why)
            ended += len(grants)
    return ended


def _of_those_who_may_not() -> Q:
    """Grants whose author left the project, has a lesser role there now, or is not active."""
    written = set(PolicyGrant.objects.order_by().values_list("project", "author_id").distinct())
    authors = {pk for _, author in written if (pk := uuid_of(author))}
    active = User.objects.filter(pk__in=authors, is_active=True)
    roots = {str(pk) for pk in active.filter(is_superuser=True).values_list("pk", flat=True)}
    roles = TABLE[Can.EDIT_POLICY].roles
    members = Membership.objects.filter(user__in=active, role__in=roles).values_list("project", "user")
    may = {(project, str(user)) for project, user in members}
    found = Q(pk__in=[])
    for project, author in written:
        if author not in roots and (project, author) not in may:
            found |= Q(project=project, author_id=author)
    return found


@transaction.atomic
def set_review(
    project: Project | None,
    agent: Agent | None = None,
    *,
    by: Actor,
    roles: Sequence[str] = (),
    reviewer: Agent | None = None,
    people_after_seconds: int | None = None,
    expires_seconds: int | None = None,
) -> PolicyReview | None:
    """Say who answers what a level's runs ask, in place of what was said; nothing given takes it away (None).

    It holds for what is asked from now on; ``expires_seconds`` for runs that start from now on.
    """
    review = PolicyReview(
        project=project, agent=agent, roles=sorted(set(roles)), reviewer=reviewer,
        people_after_seconds=people_after_seconds, expires_seconds=expires_seconds,
    )  # fmt: skip
    _require(review, by)
    _lock()
    _check_review(review)
    PolicyReview.objects.filter(project=project, agent=agent).delete()
    if any((roles, reviewer, people_after_seconds, expires_seconds)):
        review.save(force_insert=True)
    _record(
        "policy.review_set", review, by, roles=review.roles, reviewer=str(reviewer.pk) if reviewer else "",
        people_after_seconds=people_after_seconds, expires_seconds=expires_seconds,
    )  # fmt: skip
    return None if review._state.adding else review


def note_use(grants: Iterable[str], project_id: UUID, now: datetime) -> None:
    """A node says which grants of the project it has used. To the minute, so that many uses are few writes."""
    known = {pk for id_ in grants if (pk := uuid_of(id_))}
    if known:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - timedelta(minutes=1))
        PolicyGrant.objects.filter(stale, pk__in=known, project=project_id).update(last_used_at=now)


def share_policy() -> None:
    """Let nobody change the policy until the end of this transaction. Before any node or run is locked.

    Nothing to do on SQLite, which has one writer anyway.
    """
    _lock(share=True)


# Live runs hear of it.


def begin_change(project_id: UUID | None, agent_id: UUID | None, *, but_first: UUID | None = None) -> list[_Live]:
    """Lock the policy, then the live runs that the level concerns (and the run ``but_first``), before the trail."""
    _lock()
    concerned = Q(state__in=ON_NODE, ended_at=None, node__isnull=False)
    if agent_id:
        concerned &= Q(agent=agent_id)
    elif project_id:
        concerned &= Q(project=project_id)
    runs = Run.objects.select_for_update(of=("self",), no_key=True).filter(concerned | Q(pk=but_first)).order_by("pk")
    rows = runs.values_list("pk", "node", "agent", "state", "ended_at")
    return [
        (run, node, agent) for run, node, agent, state, ended_at in rows if node and state in ON_NODE and not ended_at
    ]


def tell_runs(runs: Sequence[_Live]) -> None:
    """Send live runs the policy as it is now, each in place of one that was not sent yet."""
    for first in range(0, len(runs), _AT_ONCE):
        part = runs[first : first + _AT_ONCE]
        policies = compile_policies(Agent.objects.filter(pk__in={agent for _, _, agent in part}))
        outbox.replace_unsent(
            [(node, run, SetPolicy(run=str(run), policy=policies[agent])) for run, node, agent in part]
        )


def _begin(row: OnLevel, by: Actor) -> list[_Live]:
    _require(row, by)
    return begin_change(row.project_id, row.agent_id)


def _require(row: OnLevel, by: Actor) -> None:
    if row.project_id is None:
        require(by, Can.MANAGE_ROUTES)
    else:
        require(by, Can.EDIT_POLICY, row.project_id)
    if row.agent is not None and row.agent.project_id != row.project_id:
        raise _invalid({"agent": ["There is no such agent in the project."]})


def _lock(*, share: bool = False) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            name = "pg_advisory_xact_lock_shared" if share else "pg_advisory_xact_lock"
            cursor.execute(f"SELECT {name}(%s)", [_LOCK])


# What fits.


def _known(fields: dict[str, Any], names: frozenset[str] | set[str] = _EDITABLE) -> dict[str, Any]:
    if unknown := sorted(fields.keys() - names):
        raise _invalid({name: ["There is no such field."] for name in unknown})
    return {name: "" if name == "kind" and value is None else value for name, value in fields.items()}


def _check_rule(rule: PolicyRule) -> None:
    if rule.is_strict and rule.verdict != Verdict.ASK:
        raise _invalid({"is_strict": ["Only what is asked can be asked each time: choose the verdict ask."]})
    _validated(rule, timezone.now())


def _validated(row: Matching, now: datetime) -> int:
    """How many bytes it is, as it is sent."""
    try:
        sent = as_rule(row) if isinstance(row, PolicyRule) else as_grant(row, now)  # type: ignore[arg-type]
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for each in error.errors(include_input=False, include_url=False):
            problems.setdefault(str(each["loc"][0]), []).append(each["msg"].removeprefix("Value error, "))
        raise _invalid(problems) from error
    return len(sent.model_dump_json())


def _check_size(row: PolicyRule | PolicyGrant) -> None:
    is_rule, now = isinstance(row, PolicyRule), timezone.now()
    others: list[Matching] = list(_level_of(row) if isinstance(row, PolicyRule) else _grants_beside(row))
    most, most_bytes = (RULES, LEVEL_BYTES) if is_rule else (GRANTS // 2, GRANT_BYTES)
    size = sum(_validated(other, now) for other in others)
    if len(others) > most or size > most_bytes:
        raise PolicyFull(rows=len(others), bytes=size, most_bytes=most_bytes)


def _grants_beside(grant: PolicyGrant) -> Any:
    return PolicyGrant.objects.filter(project=grant.project_id, agent=grant.agent_id)


def _level_of(rule: PolicyRule) -> Any:
    return PolicyRule.objects.filter(project=rule.project_id, agent=rule.agent_id)


def _renumber(rules: Sequence[PolicyRule]) -> None:
    moved = []
    for position, rule in enumerate(rules):
        if rule.position != position:
            rule.position = position
            moved.append(rule)
    PolicyRule.objects.bulk_update(moved, ["position"], batch_size=_AT_ONCE)


def _check_review(review: PolicyReview) -> None:
    problems: dict[str, list[str]] = {}
    if wrong := set(review.roles) - REVIEWING_ROLES:
        problems["roles"] = [f"{', '.join(sorted(wrong))}: use {', '.join(sorted(REVIEWING_ROLES))}."]
    for name in ("people_after_seconds", "expires_seconds"):
        value = getattr(review, name)
        if value is not None and not 1 <= value <= MOST_SECONDS:
            problems[name] = ["From 1 second to 7 days."]
    if review.agent_id and review.expires_seconds is not None:
        problems["expires_seconds"] = ["An agent has approval_seconds of its own: set that."]
    reviewer = review.reviewer
    if reviewer is not None and (reviewer.project_id != review.project_id or reviewer.archived_at):
        problems["reviewer"] = ["A reviewing agent is one of the project, and not put away."]
    elif reviewer is not None and reviewer.pk == review.agent_id:
        problems["reviewer"] = ["No agent answers what it asks itself."]
    if problems:
        raise _invalid(problems)


def _invalid(problems: dict[str, list[str]]) -> Invalid:
    said = "; ".join(f"{name}: {words[0]}" for name, words in problems.items())
    return Invalid(f"The policy does not fit: {said}", fields=problems)


def author_of(by: Actor) -> dict[str, str]:
    return {"author_kind": by.kind, "author_id": by.id, "author_label": by.label[:150]}


def _said(row: PolicyRule | PolicyGrant) -> dict[str, Any]:
    """For the trail."""
    said = {name: getattr(row, name) for name in sorted(_MATCHED) if getattr(row, name)}
    if isinstance(row, PolicyRule):
        said |= {
            "verdict": row.verdict,
            "position": row.position,
            "is_strict": row.is_strict,
            "is_enabled": row.is_enabled,
        }
    return said


def _record(name: str, row: OnLevel, by: Actor, **data: Any) -> None:
    if row.agent_id:
        data["agent"] = str(row.agent_id)
    record(row.project_id, name, by=by, of=(row._meta.model_name or "", row.pk), level=row.level, **data)
