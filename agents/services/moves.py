"""How a run changes state: compare, set, look at the count."""

from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Actor
from audit.services import record
from nodes.contract.errors import WrongState
from nodes.contract.reasons import Reason

from ..models import Approval, Run
from ..states import ENDED, State, sources
from .approval_bell import ring_for_approvals

KEPT: Final = frozenset({Reason.BUDGET_EXCEEDED})
"""Reasons for stopping a run that stay its reason once it is cancelled."""


def lock_run(run_id: UUID) -> Run:
    """The run as it is now, locked until the end of the transaction: before its approvals, and before the trail."""
    return Run.objects.select_for_update(of=("self",), no_key=True).get(pk=run_id)


def move_run(run: Run, to: State, *, by: Actor, reason: Reason, message: str = "", **columns: Any) -> bool:
    """Move and audit; False if the run is there already. ``WrongState`` for a move the table forbids.

    ``columns`` are written with the state. Inside the caller's transaction.
    """
    columns |= {"reason": reason, "message": message[:500]}
    if to in ENDED:
        columns.setdefault("ended_at", timezone.now())
    if to is State.LOST:
        columns["lost_at"] = timezone.now()
    moved = Run.objects.filter(pk=run.pk, state__in=sources(to)).update(state=to, **columns)
    run.refresh_from_db()
    if moved:
        if to in ENDED:
            _close_approvals(run)
        record(
            run.project_id, f"run.{to}", by=by, of=("run", run.pk), run=run.pk, node=run.node_id, reason=reason.value
        )
        return True
    if run.state != to:
        raise WrongState(f"The run is {run.state}, so it cannot become {to}.", state=run.state)
    if to not in ENDED and run.reason != reason and run.reason not in KEPT:
        Run.objects.filter(pk=run.pk, state=to).update(reason=reason, message=message[:500])
        run.reason, run.message = reason, message[:500]
    return False


def reopen_run(run: Run) -> None:
    """Its node has shown that it is not over, as the hub had presumed: it is *lost* again until the node says more.

    Beside the table of moves, and once for a run: ``run.may_reopen``, fresh and locked. What it asked is open again.
    """
    presumed_at, now = run.presumed_at, timezone.now()
    state, reason = State.LOST, Reason.NODE_SILENT
    Run.objects.filter(pk=run.pk).update(
        state=state, reason=reason, message="", ended_at=None, presumed_at=None, reopened_at=now, lost_at=now
    )
    run.refresh_from_db()
    closed = run.approvals.filter(state=Approval.State.SUPERSEDED, resolved_at__gte=presumed_at)
    closed.filter(decided_at=None).update(state=Approval.State.PENDING, resolved_at=None)
    closed.exclude(decided_at=None).update(state=Approval.State.DECIDED, resolved_at=None)
    ring_for_approvals()
    record(run.project_id, "run.reopened", by=SYSTEM, of=("run", run.pk), run=run.pk, node=run.node_id)


def _close_approvals(run: Run) -> None:
    open_states = [Approval.State.PENDING, Approval.State.DECIDED]
    if run.approvals.filter(state__in=open_states).update(state=Approval.State.SUPERSEDED, resolved_at=timezone.now()):
        ring_for_approvals()
