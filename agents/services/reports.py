"""What a node's records change besides the stream: the run's state, its approvals, its diff."""

from collections.abc import Callable
from typing import Any, Final

from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from audit.services import record
from nodes.contract.events import (
    ApprovalRequested,
    ApprovalResolved,
    DiffReady,
    Payload,
    PolicyDecided,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    StateChanged,
)
from nodes.contract.ids import uuid_of
from nodes.contract.reasons import Reason

from ..models import Run
from ..states import LIVE, State, sources
from .moves import KEPT, move_run
from .policies import note_use
from .questions import open_approval, resolve_approval
from .resuming import RESUMED, resume_run

_TIMEOUTS: Final = frozenset({Reason.TURN_TIMEOUT, Reason.START_TIMEOUT})
_MOST_APPROVAL_SECONDS: Final = 366 * 86_400
_HASH_CHARS: Final = 128


def why_unfit(payload: Payload) -> str:
    """Why a record that is valid by its model cannot be applied; empty if it can. Nodes are not trusted to fit."""
    if isinstance(payload, (ApprovalRequested, ApprovalResolved)) and uuid_of(payload.approval_id) is None:
        return "approval_id: is not a UUID"
    if isinstance(payload, ApprovalRequested):
        if not 0 <= payload.expires_in_seconds <= _MOST_APPROVAL_SECONDS:
            return f"expires_in_seconds: must be from 0 to {_MOST_APPROVAL_SECONDS}"
        if len(payload.action_hash) > _HASH_CHARS:
            return f"action_hash: has more than {_HASH_CHARS} characters"
    return ""


def _small(number: int | None) -> int | None:
    """As a column takes it: an exit code or signal beyond 32 bits says nothing."""
    return number if number is not None and -(2**31) <= number < 2**31 else None


def apply_report(run: Run, payload: Payload) -> None:
    """Apply one state-bearing record, inside the transaction that stores it. ``run`` is fresh and locked."""
    handler = _HANDLERS.get(type(payload))
    if handler:
        handler(run, payload)


def _started(run: Run, started: RunStarted) -> None:
    facts: dict[str, Any] = {
        "started_at": timezone.now(),
        "workspace": started.workspace[:1024],
        "isolation": started.isolation,
        "network": started.network,
    }
    if run.state in sources(State.RUNNING):
        move_run(run, State.RUNNING, by=SYSTEM, reason=Reason.NONE, **facts)
    else:  # it was cancelled while it started: it stays on its way out
        Run.objects.filter(pk=run.pk).update(**facts)
    if started.secrets:
        record(
            run.project_id, "secret.used", by=SYSTEM, of=("run", run.pk), run=run.pk, node=run.node_id,
            names=started.secrets[:100],
        )  # fmt: skip


def _state_changed(run: Run, change: StateChanged) -> None:
    known = change.state in LIVE and change.reason in set(Reason)
    if known and (run.state == change.state or run.state in sources(State(change.state))):
        move_run(run, State(change.state), by=SYSTEM, reason=Reason(change.reason), message=change.message)


def _completed(run: Run, ending: RunCompleted) -> None:
    move_run(run, State.SUCCEEDED, by=SYSTEM, reason=Reason.FINISHED, exit_code=_small(ending.exit_code))


def _failed(run: Run, ending: RunFailed) -> None:
    reason = Reason(ending.reason) if ending.reason in set(Reason) else Reason.INTERNAL
    to = State.TIMED_OUT if reason in _TIMEOUTS else State.FAILED
    columns = {"exit_code": _small(ending.exit_code), "signal": _small(ending.signal)}
    if move_run(run, to, by=SYSTEM, reason=reason, message=ending.message, **columns) and reason in RESUMED:
        resume_run(run)


def _cancelled(run: Run, ending: RunCancelled) -> None:
    columns = {"exit_code": _small(ending.exit_code), "signal": _small(ending.signal)}
    reason = Reason(run.reason) if run.reason in KEPT else Reason.CANCELLED
    move_run(run, State.CANCELLED, by=SYSTEM, reason=reason, message=ending.message, **columns)


def _diff_ready(run: Run, diff: DiffReady) -> None:
    Run.objects.filter(pk=run.pk).update(diff=diff.model_dump(mode="json"))


def _policy_decided(run: Run, decided: PolicyDecided) -> None:
    used = {action.grant for action in decided.actions if action.grant}
    if used:
        note_use(used, run.project_id, timezone.now())


_HANDLERS: Final[dict[type[Payload], Callable[[Run, Any], None]]] = {
    RunStarted: _started,
    StateChanged: _state_changed,
    RunCompleted: _completed,
    RunFailed: _failed,
    RunCancelled: _cancelled,
    DiffReady: _diff_ready,
    ApprovalRequested: open_approval,
    ApprovalResolved: resolve_approval,
    PolicyDecided: _policy_decided,
}
