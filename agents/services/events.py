"""The hub's own facts in a run's stream."""

from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import F

from audit.bell import bell
from nodes.contract.events import Payload
from nodes.contract.ids import now_us

from ..event_table import NewEvent, insert_events
from ..models import Run
from ..stream import EventRow, tails


def append_event(run: Run, payload: Payload) -> None:
    """Write one event with the stream's next number, inside the caller's transaction; readers hear of it on commit."""
    Run.objects.filter(pk=run.pk).update(last_seq=F("last_seq") + 1)  # holds the row until the commit
    run.last_seq = Run.objects.values_list("last_seq", flat=True).get(pk=run.pk)
    now = now_us()
    event = NewEvent(run.pk, run.last_seq, 0, None, payload.TYPE, payload.VERSION, now, now, payload.model_dump_json())
    insert_events([event])
    transaction.on_commit(partial(announce, run.pk, [event]))


def announce(run_id: UUID, events: list[NewEvent]) -> None:
    """Tell readers of committed events: this process's at once, others by the bell."""
    if tails.watches(run_id):
        tails.feed(
            run_id, [EventRow(e.seq, e.type, e.version, e.occurred_us, e.recorded_us, e.payload) for e in events]
        )
    bell.ring(f"run:{run_id}", events[-1].seq)
