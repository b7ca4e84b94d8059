"""Runs that their nodes do not speak for: lost, found again, ended without their node's word.

What the hub ends by itself is a presumption (``run.presumed_at``): evidence from the node undoes it, once.
"""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Actor
from audit.services import record
from nodes import outbox
from nodes.contract.commands import CancelRun, StartRun
from nodes.contract.events import RunCancelled, RunFailed, StateChanged
from nodes.contract.limits import CANCEL_SILENT_SECONDS, DISABLED_GONE_SECONDS, NODE_GONE_SECONDS
from nodes.contract.reasons import Reason
from nodes.models import Command, Node

from ..models import Run
from ..states import ON_NODE, State
from .events import append_event
from .moves import lock_run, move_run, reopen_run
from .placing import lock_node

CANCEL_SILENT: Final = timedelta(seconds=CANCEL_SILENT_SECONDS)
DISABLED_GONE: Final = timedelta(seconds=DISABLED_GONE_SECONDS)
NODE_GONE: Final = timedelta(seconds=NODE_GONE_SECONDS)


@transaction.atomic
def fail_run(
    run_id: UUID,
    *,
    reason: Reason,
    message: str,
    by: Actor = SYSTEM,
    to: State | None = None,
    is_presumed: bool = False,
) -> None:
    """End a run that its node cannot end: it never started there, or nothing of it is left. Ended runs stay so.

    *Failed*, or *cancelled* where the reason says so, unless ``to`` says which of the two. ``is_presumed``:
    without the node's word, so that the node may still show otherwise.
    """
    run = lock_run(run_id)
    if run.is_ended:
        return
    to = to or (State.CANCELLED if reason is Reason.CANCELLED else State.FAILED)
    now = timezone.now()
    columns: dict[str, Any] = {"ended_at": now, "presumed_at": now if is_presumed else None}
    move_run(run, to, by=by, reason=reason, message=message, **columns)
    if to is State.CANCELLED:
        append_event(run, RunCancelled(reason=reason, message=message))
    else:
        append_event(run, RunFailed(reason=reason, message=message))


def lose_run(run_id: UUID) -> None:
    """Its node says that it does not know this run."""
    message = "The node no longer knows this run: its directory there is gone."
    fail_run(run_id, reason=Reason.NODE_LOST_RUN, message=message, is_presumed=True)


@transaction.atomic
def mark_lost(run: Run, *, silent_since: datetime) -> bool:
    """The node is silent beyond the agent's grace, or revoked: the run's fate is unknown, and is called unknown.

    False if the node was heard meanwhile (its link looks at runs on connecting only), or the run has moved on.
    """
    node = lock_node(run.placed_node_id)
    run = lock_run(run.pk)
    was_heard = node.last_heard_at is not None and node.last_heard_at >= silent_since
    reason = Reason.NODE_REVOKED if node.revoked_at else Reason.NODE_SILENT
    if (was_heard and not node.revoked_at) or run.state not in ON_NODE:
        return False
    if not move_run(run, State.LOST, by=SYSTEM, reason=reason):
        return False
    append_event(run, StateChanged(state=State.LOST, reason=reason))
    return True


@transaction.atomic
def say_unreached(run_id: UUID) -> bool:
    """Its node fell silent before it answered whether it starts the run: that is what the run waits for."""
    run = lock_run(run_id)
    if run.state != State.STARTING or not outbox.is_pending(run.pk, StartRun.KIND):
        return False
    message = "The run was handed to its node, which fell silent before it said whether it starts it."
    return _say_wait(run, Reason.NODE_OFFLINE, message)


@transaction.atomic
def say_reached(run_id: UUID) -> bool:
    """The node is heard again, or has answered: the run waits to be started, as before."""
    run = lock_run(run_id)
    return run.state == State.STARTING and _say_wait(run, Reason.STARTING, "")


def _say_wait(run: Run, reason: Reason, message: str) -> bool:
    if run.reason == reason:
        return False
    move_run(run, State.STARTING, by=SYSTEM, reason=reason, message=message)
    append_event(run, StateChanged(state=State.STARTING, reason=reason, message=message))
    return True


def mark_found(run: Run) -> None:
    """The node is back and still holds the run alive. ``run`` is fresh and locked."""
    to, reason = State.RUNNING, Reason.NONE
    if Command.objects.filter(run=run.pk, kind=CancelRun.KIND).exists():
        to, reason = State.STOPPING, Reason.CANCEL_REQUESTED
    elif run.approvals.filter(state__in=["pending", "decided"]).exists():
        to, reason = State.WAITING, Reason.APPROVAL
    with transaction.atomic():
        if move_run(run, to, by=SYSTEM, reason=reason, lost_at=None):
            append_event(run, StateChanged(state=to, reason=reason, message="The node is back."))


def disprove_ending(run: Run) -> None:
    """The node still holds alive what the hub had presumed to be over. ``run`` is fresh and locked.

    It goes on, once. A second time its ending stands, and the node is told to stop what it has.
    """
    if run.may_reopen:
        reopen_run(run)
        append_event(run, reopening())
        mark_found(run)
    elif not outbox.is_pending(run.pk, CancelRun.KIND):
        outbox.queue_command(run.placed_node_id, CancelRun(run=str(run.pk), by=SYSTEM.as_who()), run=run.pk)


def reopening() -> StateChanged:
    """What a stream says where it goes on after an ending that the hub had presumed."""
    message = "The node came back with more of this run, which the hub had given up: it goes on from here."
    return StateChanged(state=State.LOST, reason=Reason.NODE_SILENT, message=message)


def note_turned_away(run: Run, records: int) -> None:
    """The node has more of a run that was given up twice: the ending stands, and what is not stored is said."""
    record(
        run.project_id, "run.records_refused", by=SYSTEM, of=("run", run.pk), run=run.pk, node=run.node_id,
        records=records,
    )  # fmt: skip


@transaction.atomic
def end_gone_run(run_id: UUID, now: datetime) -> bool:
    """End a run whose node is gone for good, or is silent to its cancelling. False if there is no such ground now."""
    node_id = Run.objects.only("node_id").get(pk=run_id).node_id
    if node_id is None:
        return False
    node = lock_node(node_id)
    run = lock_run(run_id)
    if run.node_id != node.pk:  # it followed its agent meanwhile
        return False
    was_sent = run.state == State.LOST
    if was_sent:
        to = _end_of_lost(run, node, now)
    elif run.state == State.QUEUED or (run.state == State.STARTING and outbox.is_unsent(run.pk, StartRun.KIND)):
        to = _end_of_waiting(run, node, now)
    else:
        to = None
    if to is None:
        return False
    # A cancel goes to the node all the same if it comes back; nothing else of an ended run does.
    outbox.withdraw_all(run.pk, but=CancelRun.KIND)
    message = _why(run, node, to, was_sent=was_sent)
    fail_run(run.pk, reason=Reason.NODE_GONE, message=message, to=to, is_presumed=was_sent)
    return True


@transaction.atomic
def end_unplaced_run(run_id: UUID) -> bool:
    """End a run that waits for a node that fits, and for which there was none for too long. False if it has one now."""
    run = lock_run(run_id)
    if run.state != State.QUEUED or run.node_id is not None:
        return False
    days = NODE_GONE.days
    message = f"No node that it could run on was there for {days} days: {run.message or run.runs_on}. It never started."
    fail_run(run_id, reason=Reason.NODE_GONE, message=message)
    return True


def _end_of_lost(run: Run, node: Node, now: datetime) -> State | None:
    silent = now - _heard_at(node)
    lost = now - (run.lost_at or run.created_at)
    cancels = Command.objects.filter(run=run.pk, kind=CancelRun.KIND, created_at__lte=now - CANCEL_SILENT)
    if silent >= CANCEL_SILENT and cancels.exists():
        return State.CANCELLED
    is_gone = lost >= NODE_GONE or (not node.is_enabled and min(lost, silent) >= DISABLED_GONE)
    return State.FAILED if is_gone else None


def _end_of_waiting(run: Run, node: Node, now: datetime) -> State | None:
    silent = now - _heard_at(node)
    is_gone = silent >= NODE_GONE or (not node.is_enabled and silent >= DISABLED_GONE)
    return State.FAILED if is_gone and now - run.created_at >= NODE_GONE else None


def _heard_at(node: Node) -> datetime:
    return node.last_heard_at or node.created_at


def _why(run: Run, node: Node, to: State, *, was_sent: bool) -> str:
    heard = f"since {node.last_heard_at:%Y-%m-%d %H:%M} UTC" if node.last_heard_at else "yet"
    gone = f"Its node {node.slug} has not been heard {heard}"
    if not node.is_enabled:
        gone += ", and is disabled"
    if not was_sent:
        return f"{gone}. The run was never started there."
    if to is State.CANCELLED:
        return f"Cancelled. {gone}: if its processes still run there, they are stopped when the node comes back."
    return f"{gone}. What became of the run there is unknown; if the node comes back with it, it goes on."
