"""What nodes answer to commands, and what follows from it. What was accepted shows itself in the run's stream."""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from audit.services import record
from nodes import outbox
from nodes.contract.commands import DecideApproval, SendInput, SetPolicy, StartRun
from nodes.contract.events import StateChanged
from nodes.contract.reasons import Reason
from nodes.models import Command

from ..mail.reach import take_mail_back
from ..models import Approval, Run
from .approval_bell import ring_for_approvals
from .events import append_event
from .losses import fail_run, lose_run
from .moves import lock_run

UNKNOWN_RUN = "unknown_run"
EXPIRED = "expired"


def take_answer(command_id: UUID, node_id: UUID, *, accepted: bool, code: str, message: str) -> None:
    """Store a node's answer and do what follows from it. Inside the caller's transaction.

    The run is locked before its command, as everywhere; an answer that merely accepts needs no look at the run.
    """
    if not accepted or code:
        run_id = Command.objects.filter(pk=command_id, node_id=node_id).values_list("run", flat=True).first()
        if run_id is None:
            return
        lock_run(run_id)
    command = outbox.answer_command(command_id, node_id, accepted=accepted, code=code, message=message)
    if command:
        on_command_answered(command)


def on_command_answered(command: Command) -> None:
    """Say a node's refusal where it matters; a run that its node does not know reaches its end."""
    is_refused = command.state == Command.State.REJECTED
    if command.kind == StartRun.KIND:
        if is_refused:
            known = {reason.value for reason in Reason}
            reason = Reason(command.code) if command.code in known else Reason.REFUSED
            message = command.message or f"The node refused the run: {command.code}."
            fail_run(command.run, reason=reason, message=message)
        return
    if is_refused:
        _say_refused(command)
        take_mail_back(command)
    if command.code == UNKNOWN_RUN:
        lose_run(command.run)


def expire_commands(now: datetime) -> int:
    """Withdraw what could not be sent in its time, and say so. Returns how many."""
    expired = 0
    for command_id, run_id in outbox.overdue(now):
        with transaction.atomic():
            lock_run(run_id)
            command = outbox.expire_command(command_id, now)
            if command:
                _say_refused(command)
                take_mail_back(command)
                expired += 1
    return expired


def _say_refused(command: Command) -> None:
    """What a person sent did not reach the agent: in the trail, and in the stream while that is open."""
    run = lock_run(command.run)
    why = command.message or command.code
    if command.kind == SendInput.KIND:
        record(
            run.project_id, "run.input_refused", by=SYSTEM, of=("run", run.pk), run=run.pk, node=run.node_id,
            input=command.key, code=command.code,
        )  # fmt: skip
        _say(run, f"The input {command.key} was not taken: {why}")
    elif command.kind == DecideApproval.KIND:
        _void_decision(run, command)
    elif command.kind == SetPolicy.KIND and command.code == "unknown_command":
        record(run.project_id, "run.policy_refused", by=SYSTEM, of=("run", run.pk), run=run.pk, node=run.node_id)
        _say(run, "The policy has changed, and this run goes on by the one it was started with: its node is too old.")


def _void_decision(run: Run, command: Command) -> None:
    """The answer to an approval will not be applied: *decided* must not look as if it still could be."""
    if not command.key:
        return  # written by an earlier version: its approval closes with the supervisor's word, or with the run
    state = Approval.State.EXPIRED if command.code == EXPIRED else Approval.State.SUPERSEDED
    decided = run.approvals.filter(pk=command.key, state=Approval.State.DECIDED)
    if not decided.update(state=state, resolved_at=timezone.now()):
        return
    approval = Approval.objects.get(pk=command.key)
    record(
        run.project_id, f"approval.{state}", by=SYSTEM, of=("approval", approval.pk), run=run.pk, approval=approval.pk,
        node=run.node_id, code=command.code,
    )  # fmt: skip
    ring_for_approvals()
    _say(run, f"The answer to “{approval.title}” was not taken: {command.message or command.code}")


def _say(run: Run, message: str) -> None:
    if not run.is_ended:
        append_event(run, StateChanged(state=run.state, reason=run.reason, message=message[:500]))
