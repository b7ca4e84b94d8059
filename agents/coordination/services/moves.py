"""How tasks, rounds and assignments change state: compare, set, look at the count."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import models
from django.db.models import QuerySet
from django.utils import timezone

from nodes.contract.errors import HubError

from ..models import Assignment, Round, Task
from ..states import ASSIGNMENT_MOVES, ROUND_MOVES, TASK_ENDED, TASK_MOVES, AssignmentState

Thing = TypeVar("Thing", Task, Round, Assignment)

_MOVES: Final[dict[type[models.Model], Mapping[Any, set[Any]]]] = {
    Task: TASK_MOVES,
    Round: ROUND_MOVES,
    Assignment: ASSIGNMENT_MOVES,
}


def lock_task(task_id: UUID) -> Task:
    """The task as it is now, locked until the end of the transaction: before its rounds, and before the trail.

    So what is done to one task is done one after the other, and no two wait for each other.
    """
    return Task.objects.select_for_update(of=("self",), no_key=True).select_related("dispatcher").get(pk=task_id)


def move(thing: Thing, to: StrEnum, refused: type[HubError], **columns: Any) -> None:
    """Put ``thing`` into the state ``to``, and ``columns`` with it. ``refused`` for a move that the table forbids."""
    sources = [state for state, onward in _MOVES[type(thing)].items() if to in onward]
    columns |= {"state": to, "updated_at": timezone.now()}
    if isinstance(thing, Task):
        columns["ended_at"] = columns["updated_at"] if to in TASK_ENDED else None
    moved = type(thing)._default_manager.filter(pk=thing.pk, state__in=sources).update(**columns)
    thing.refresh_from_db()
    if not moved:
        raise refused(f"{refused.message} It is {thing.state}.", state=thing.state)


def cancel_unfinished(rows: QuerySet[Assignment], now: datetime) -> int:
    """Of ``rows``, whose task is locked, those that are not over. How many."""
    may_end = [state for state, onward in ASSIGNMENT_MOVES.items() if AssignmentState.CANCELLED in onward]
    unfinished = rows.filter(state__in=may_end).order_by()
    return unfinished.update(state=AssignmentState.CANCELLED, lease_expires_at=None, updated_at=now)
