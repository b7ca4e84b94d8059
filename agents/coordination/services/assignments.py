"""Assignments: claimed with a lease, kept by progress, completed with a handoff, or free again."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Actor
from agenthub_site.accounts.permissions import Can, require
from audit.services import Fact, record, record_all

from ...models import Agent
from ..errors import (
    ActiveAssignmentLimit,
    AssignmentNotActive,
    AssignmentNotPending,
    AssignmentNotValid,
    InvalidStatus,
    LeaseExpired,
    RoundNotApproved,
)
from ..models import Assignment, Handoff, Round
from ..queries import limits_of, own_agent
from ..states import HELD, WORKING, AssignmentState, RoundState
from .moves import lock_task, move
from .notices import tell_reviewer
from .texts import TEXT_BYTES, checked_lines, checked_text, checked_word

_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker hands over. All of it may be empty."""

    branch: str = ""
    commit_hash: str = ""
    changed_files: list[str] = field(default_factory=list)
    tests_run: list[str] = field(default_factory=list)
    risks: str = ""
    next_steps: str = ""
    notes: str = ""


def claim_assignment(assignment: Assignment, *, by: Actor, now: datetime | None = None) -> Assignment:
    """Take an assignment, for as long as the lease runs. Of many who try at once one gets it.

    Raises ``AssignmentNotValid`` for another agent's, ``RoundNotApproved``, ``AssignmentNotPending``,
    ``ActiveAssignmentLimit``.
    """
    require(by, Can.WORK_ON_TASK, assignment)
    agent = own_agent(by)
    now = now or timezone.now()
    with transaction.atomic():
        # What an agent holds is counted by one claim at a time.
        Agent.objects.select_for_update(of=("self",), no_key=True).get(pk=agent.pk)
        task = lock_task(assignment.task_id)
        _free_expired(Assignment.objects.filter(pk=assignment.pk), now)
        assignment.refresh_from_db()
        if not (assignment.agent_id == agent.pk or assignment.is_for_anyone):
            raise AssignmentNotValid()
        _require_working(assignment.round)
        limits = limits_of(task.project_id)
        held = Assignment.objects.filter(agent=agent, state__in=HELD, lease_expires_at__gt=now).count()
        if assignment.state == AssignmentState.PENDING and held >= limits.max_simultaneous_assignments:
            raise ActiveAssignmentLimit(
                f"You hold {held} assignments, and no more than {limits.max_simultaneous_assignments} at once are "
                "allowed. Complete one first.",
                limit=limits.max_simultaneous_assignments,
            )
        lease = now + timedelta(minutes=limits.lease_minutes)
        claimed = {"agent": agent, "claimed_at": now, "lease_expires_at": lease}
        move(assignment, AssignmentState.CLAIMED, AssignmentNotPending, **claimed)
        if assignment.round.state == RoundState.DISPATCHED:
            move(assignment.round, RoundState.IN_PROGRESS, RoundNotApproved)
        record(
            task.project_id, "assignment.claimed", by=by, of=("assignment", assignment.pk), task=task.key,
            agent=agent.name, lease_expires_at=lease,
        )  # fmt: skip
    return assignment


@transaction.atomic
def report_progress(
    assignment: Assignment, *, by: Actor, status: str, note: str = "", now: datetime | None = None
) -> Assignment:
    """Renew the lease; ``in_progress`` begins the work, and a note that is not empty takes the last one's place.

    ``claimed`` begins nothing, and ends nothing that has begun. Raises ``InvalidStatus``, ``AssignmentNotValid``,
    ``AssignmentNotActive``, ``LeaseExpired``, ``RoundNotApproved``.
    """
    require(by, Can.WORK_ON_TASK, assignment)
    agent = own_agent(by)
    if status not in HELD:
        raise InvalidStatus(fields={"status": [InvalidStatus.message]})
    note = checked_text("note", note, TEXT_BYTES)
    now = now or timezone.now()
    task = lock_task(assignment.task_id)
    _require_held(assignment, agent, now)
    lease = now + timedelta(minutes=limits_of(task.project_id).lease_minutes)
    columns: dict[str, Any] = {"lease_expires_at": lease} | ({"progress_note": note} if note else {})
    if status == AssignmentState.IN_PROGRESS and assignment.state == AssignmentState.CLAIMED:
        move(assignment, AssignmentState.IN_PROGRESS, AssignmentNotActive, started_at=now, **columns)
        record(
            task.project_id, "assignment.started", by=by, of=("assignment", assignment.pk), task=task.key,
            agent=agent.name,
        )  # fmt: skip
    else:
        held = Assignment.objects.filter(pk=assignment.pk, state=assignment.state, agent=agent)
        held.update(updated_at=now, **columns)
        assignment.refresh_from_db()
    return assignment


@transaction.atomic
def complete_assignment(
    assignment: Assignment, work: Work, *, by: Actor, now: datetime | None = None
) -> tuple[Assignment, Handoff]:
    """Hand the work over. With the last of its round the round waits for the dispatcher's review.

    Raises as ``report_progress`` does, and ``Invalid`` for a handoff that does not fit.
    """
    require(by, Can.WORK_ON_TASK, assignment)
    agent = own_agent(by)
    now = now or timezone.now()
    said = Work(
        branch=checked_word("branch", work.branch, 255, may_be_empty=True),
        commit_hash=checked_word("commit_hash", work.commit_hash, 64, may_be_empty=True),
        changed_files=checked_lines("changed_files", work.changed_files),
        tests_run=checked_lines("tests_run", work.tests_run),
        risks=checked_text("risks", work.risks, TEXT_BYTES),
        next_steps=checked_text("next_steps", work.next_steps, TEXT_BYTES),
        notes=checked_text("notes", work.notes, TEXT_BYTES),
    )
    task = lock_task(assignment.task_id)
    _require_held(assignment, agent, now)
    handoff = Handoff(
        project_id=task.project_id, assignment=assignment, agent=agent,
        **{name: getattr(said, name) for name in Work.__dataclass_fields__},
    )  # fmt: skip
    move(assignment, AssignmentState.COMPLETED, AssignmentNotActive, completed_at=now, lease_expires_at=None)
    handoff.save(force_insert=True)
    unfinished = Assignment.objects.filter(round=assignment.round_id).exclude(state=AssignmentState.COMPLETED)
    is_last = not unfinished.exists()
    if is_last:
        move(assignment.round, RoundState.AWAITING_REVIEW, RoundNotApproved)
        tell_reviewer(assignment.round)
    record(
        task.project_id, "assignment.completed", by=by, of=("assignment", assignment.pk), task=task.key,
        agent=agent.name, handoff=handoff.pk, is_last_of_round=is_last,
    )  # fmt: skip
    return assignment, handoff


def tick(now: datetime) -> int:
    """Assignments whose lease nobody renewed are free again; those of agents that were put away are for anyone.

    How many there were.
    """
    due = Assignment.objects.filter(state__in=HELD, lease_expires_at__lte=now).order_by("lease_expires_at")
    orphaned = _orphaned(Assignment.objects.all())
    tasks = {*due.values_list("task_id", flat=True)[:_AT_ONCE], *orphaned.values_list("task_id", flat=True)[:_AT_ONCE]}
    freed = 0
    for task_id in tasks:
        with transaction.atomic():
            lock_task(task_id)
            own = Assignment.objects.filter(task=task_id)
            freed += _free_expired(own, now) + _open_orphaned(own, now)
    return freed


def _orphaned(rows: Any) -> Any:
    return rows.filter(state=AssignmentState.PENDING, is_for_anyone=False, agent__archived_at__isnull=False)


def _open_orphaned(rows: Any, now: datetime) -> int:
    """Of ``rows``, whose task is locked, those that wait for an agent that will not come. In the trail."""
    found = list(_orphaned(rows).select_related("agent", "task"))
    if found:
        pending = Assignment.objects.filter(pk__in=[item.pk for item in found], state=AssignmentState.PENDING)
        pending.update(is_for_anyone=True, agent=None, updated_at=now)
        facts = [
            Fact(
                item.project_id, "assignment.opened", of=("assignment", item.pk),
                data={"task": item.task.key, "agent": item.agent.name},
            )
            for item in found
        ]  # fmt: skip
        record_all(facts, by=SYSTEM)
    return len(found)


def _free_expired(rows: Any, now: datetime) -> int:
    """Of ``rows``, whose task is locked, those whose lease is over. In the trail."""
    due = list(rows.filter(state__in=HELD, lease_expires_at__lte=now).select_related("agent", "task"))
    if not due:
        return 0
    expired = Assignment.objects.filter(pk__in=[item.pk for item in due], state__in=HELD, lease_expires_at__lte=now)
    freed: dict[str, Any] = {
        "state": AssignmentState.PENDING,
        "lease_expires_at": None,
        "updated_at": now,
        "expiries": F("expiries") + 1,
    }
    freed |= {"claimed_at": None, "started_at": None, "former": F("agent")}
    expired.filter(is_for_anyone=False).update(**freed)
    expired.filter(is_for_anyone=True).update(agent=None, **freed)
    facts = [
        Fact(
            item.project_id, "assignment.lease_expired", of=("assignment", item.pk),
            data={"task": item.task.key, "agent": item.agent.name if item.agent else ""},
        )
        for item in due
    ]  # fmt: skip
    record_all(facts, by=SYSTEM)
    return len(due)


def _require_working(round_: Round) -> None:
    if round_.state not in WORKING:
        raise RoundNotApproved(f"{RoundNotApproved.message} It is {round_.state}.", state=round_.state)


def _require_held(assignment: Assignment, agent: Agent, now: datetime) -> None:
    """``assignment``, whose task is locked, is read anew, and must be the agent's at this time."""
    assignment.refresh_from_db()
    is_free_again = assignment.state == AssignmentState.PENDING and assignment.expiries > 0
    if assignment.agent_id != agent.pk and not (is_free_again and assignment.former_id == agent.pk):
        raise AssignmentNotValid()
    _require_working(assignment.round)
    if assignment.state not in HELD:
        if is_free_again:
            raise LeaseExpired()
        raise AssignmentNotActive(f"{AssignmentNotActive.message} It is {assignment.state}.", state=assignment.state)
    if assignment.lease_expires_at is None or assignment.lease_expires_at <= now:
        raise LeaseExpired()
