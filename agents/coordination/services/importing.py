"""Work that was begun elsewhere: tasks with all that is theirs, and locks, as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, require
from audit.services import record

from ...models import Agent
from ..models import Assignment, Handoff, Lock, Round, Task
from ..queries import limits_of
from ..states import HELD, AssignmentState, RoundState, TaskState
from .assignments import Work
from .locks import lock_key

Beginning = TypeVar("Beginning", Assignment, Handoff)


@dataclass(frozen=True, slots=True)
class GivenHandoff:
    id: UUID
    agent: Agent
    work: Work
    created_at: datetime


@dataclass(frozen=True, slots=True)
class GivenAssignment:
    """Who holds it without an end of the lease holds it for the project's ``lease_minutes`` from now."""

    id: UUID
    agent: Agent
    goal: str
    state: AssignmentState
    claimed_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    lease_expires_at: datetime | None
    progress_note: str
    created_at: datetime
    handoff: GivenHandoff | None


@dataclass(frozen=True, slots=True)
class GivenRound:
    id: UUID
    state: RoundState
    decided_by: str
    decided_at: datetime | None
    operator_note: str
    created_at: datetime
    assignments: Sequence[GivenAssignment]


@dataclass(frozen=True, slots=True)
class GivenTask:
    id: UUID
    key: str
    title: str
    description: str
    state: TaskState
    dispatcher: Agent
    created_at: datetime
    message_count: int
    rounds: Sequence[GivenRound]


@dataclass(frozen=True, slots=True)
class GivenLock:
    key: str
    holder: Agent
    resource_type: str
    resource_id: str
    expires_at: datetime


@transaction.atomic
def import_task(project: Project, given: GivenTask, *, by: Actor) -> bool:
    """Take over a task as it is. False if the project has a task of that key: then nothing has changed."""
    require(by, Can.DECIDE_ROUND, project.pk)
    if Task.objects.filter(Q(project=project, key=given.key) | Q(pk=given.id)).exists():
        return False
    task = Task.objects.create(
        pk=given.id, project=project, key=given.key, title=given.title, description=given.description,
        state=given.state, dispatcher=given.dispatcher, message_count=given.message_count,
        created_by=given.dispatcher.name,
    )  # fmt: skip
    Task.objects.filter(pk=task.pk).update(created_at=given.created_at)
    until = timezone.now() + timedelta(minutes=limits_of(project.pk).lease_minutes)
    for number, each in enumerate(given.rounds, 1):
        round_ = Round.objects.create(
            pk=each.id, project=project, task=task, number=number, state=each.state, decided_by=each.decided_by,
            decided_at=each.decided_at, operator_note=each.operator_note,
        )  # fmt: skip
        Round.objects.filter(pk=round_.pk).update(created_at=each.created_at)
        _give_assignments(round_, each.assignments, until)
    record(
        project.pk, "task.imported", by=by, of=("task", task.pk), key=task.key, rounds=len(given.rounds),
        assignments=sum(len(each.assignments) for each in given.rounds),
    )  # fmt: skip
    return True


def _give_assignments(round_: Round, given: Sequence[GivenAssignment], until: datetime) -> None:
    assignments = [
        Assignment(
            pk=item.id, project_id=round_.project_id, task_id=round_.task_id, round=round_, agent=item.agent,
            position=position, goal=item.goal, state=item.state, claimed_at=item.claimed_at,
            started_at=item.started_at, completed_at=item.completed_at, progress_note=item.progress_note,
            lease_expires_at=(item.lease_expires_at or until) if item.state in HELD else None,
        )
        for position, item in enumerate(given)
    ]  # fmt: skip
    handed = [item.handoff for item in given if item.handoff]
    handoffs = [
        Handoff(
            pk=item.handoff.id, project_id=round_.project_id, assignment_id=item.id, agent=item.handoff.agent,
            branch=item.handoff.work.branch, commit_hash=item.handoff.work.commit_hash,
            changed_files=item.handoff.work.changed_files, tests_run=item.handoff.work.tests_run,
            risks=item.handoff.work.risks, next_steps=item.handoff.work.next_steps, notes=item.handoff.work.notes,
        )
        for item in given if item.handoff
    ]  # fmt: skip
    _create_as_of(Assignment, assignments, [item.created_at for item in given])
    _create_as_of(Handoff, handoffs, [item.created_at for item in handed])


def _create_as_of(model: type[Beginning], rows: list[Beginning], times: Sequence[datetime]) -> None:
    """With the times of their beginnings, in place of this one."""
    model._default_manager.bulk_create(rows)
    for row, created_at in zip(rows, times, strict=True):
        row.created_at = created_at
    model._default_manager.bulk_update(rows, ["created_at"])


@transaction.atomic
def import_lock(project: Project, given: GivenLock, *, by: Actor) -> bool:
    """Let the holder have the lock until it runs out. False if somebody holds it here: then nothing has changed."""
    require(by, Can.DECIDE_ROUND, project.pk)
    now = timezone.now()
    lock = lock_key(project.pk, given.key)
    taken = Lock.objects.filter(Q(holder=None) | Q(expires_at__lte=now), pk=lock.pk).update(
        holder=given.holder, fencing_number=F("fencing_number") + 1, resource_type=given.resource_type,
        resource_id=given.resource_id, acquired_at=now, expires_at=given.expires_at,
    )  # fmt: skip
    if taken:
        record(
            project.pk, "lock.imported", by=by, of=("lock", lock.pk), key=given.key, holder=given.holder.name,
            expires_at=given.expires_at,
        )  # fmt: skip
    return bool(taken)
