"""Hands queued runs to their nodes, oldest first, as nodes come back and places become free."""

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from .models import Run
from .services.runs import lock_node, obstacle, place_run
from .states import State

_AT_ONCE: Final = 200
"""Runs handed to one node before the next one's turn."""


def tick(now: datetime) -> int:
    """Place what can be placed; say of the rest what it waits for. Returns how many were placed.

    Node by node: however many runs wait for one that is gone, they hold up no other's.
    """
    waiting = Run.objects.filter(state=State.QUEUED).order_by().values_list("node_id", flat=True).distinct()
    placed = 0
    for node_id in list(waiting):
        for _ in range(_AT_ONCE):
            if not _place_next(node_id, now):
                break
            placed += 1
    return placed


@transaction.atomic
def _place_next(node_id: UUID, now: datetime) -> bool:
    node = lock_node(node_id)
    queued = Run.objects.filter(node_id=node_id, state=State.QUEUED)
    waits_for = obstacle(node, now)
    if waits_for:
        queued.exclude(reason=waits_for).update(reason=waits_for)
        return False
    # One that is being cancelled at this moment is left for the next look.
    free = queued.select_for_update(of=("self",), no_key=True, skip_locked=_can_skip())
    run = free.select_related("agent", "project").order_by("pk").first()
    if run is None:
        return False
    place_run(run)
    return True


def _can_skip() -> bool:
    return bool(transaction.get_connection().features.has_select_for_update_skip_locked)
