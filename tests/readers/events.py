"""Events written straight into a run's stream, as ingest does: rows and number in one transaction, then the news."""

import json
import time
from uuid import UUID

from django.db import transaction
from django.db.models import F

from agents.event_table import NewEvent, insert_events
from agents.models import Run
from agents.states import State
from agents.stream import EventRow, tails
from audit.bell import bell
from nodes.contract.ids import now_us


def append(
    run_id: UUID,
    count: int,
    batch: int = 50,
    *,
    size: int = 60,
    feed: bool = True,
    ring: bool = True,
    end: bool = False,
    pause: float = 0,
) -> int:
    """Append ``count`` events, ``batch`` to a transaction, and the run's ending last if ``end``; the last number.

    With ``pause`` seconds between transactions, as a live run has them.
    """
    last = 0
    while count > 0:
        number = min(batch, count)
        count -= number
        last = _append_batch(run_id, number, size, feed=feed, ring=ring, end=end and count == 0)
        if pause:
            time.sleep(pause)
    return last


def _append_batch(run_id: UUID, number: int, size: int, *, feed: bool, ring: bool, end: bool) -> int:
    now = now_us()
    with transaction.atomic():
        Run.objects.filter(pk=run_id).update(last_seq=F("last_seq") + number)
        last = Run.objects.values_list("last_seq", flat=True).get(pk=run_id)
        events = [
            NewEvent(run_id, seq, 1, seq, "run.message.delta", 1, now, now_us(), _payload(seq, size))
            for seq in range(last - number + 1, last + 1)
        ]
        if end:
            events[-1] = events[-1]._replace(type="run.completed", payload='{"stop_reason":"end_turn"}')
            Run.objects.filter(pk=run_id).update(state=State.SUCCEEDED)
        insert_events(events)
    if feed:
        tails.feed(
            run_id, [EventRow(e.seq, e.type, e.version, e.occurred_us, e.recorded_us, e.payload) for e in events]
        )
    if ring:
        bell.ring(f"run:{run_id}", last)
    return last


def _payload(seq: int, size: int) -> str:
    return json.dumps({"message_id": "m1", "text": f"{seq} häuser " + "x" * size}, ensure_ascii=False)
