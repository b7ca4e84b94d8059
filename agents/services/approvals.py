"""Approvals: opened and resolved by the node's records, decided here. *Decided* and *applied* are two facts."""

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Actor, ActorKind
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes import outbox
from nodes.contract.commands import DecideApproval
from nodes.contract.errors import Conflict, Forbidden, Invalid
from nodes.contract.events import ApprovalDecided, ApprovalRequested, ApprovalResolved

from ..models import Approval, Run
from .events import append_event
from .moves import lock_run


class AlreadyDecided(Conflict):
    code = "already_decided"
    message = "This approval was answered already."


class ApprovalExpired(Conflict):
    code = "approval_expired"
    message = "This approval has expired; the agent was told no."


@transaction.atomic
def decide_approval(
    approval: Approval, *, by: Actor, option_id: str | None = None, outcome: str | None = None
) -> Approval:
    """Answer with one of the runtime's options, or with the outcome ``cancelled``; never both.

    One answer wins: ``AlreadyDecided`` names the winner in ``data``. The answer is sent to the node,
    bound to the hash of the exact action.
    """
    require(by, Can.ANSWER_APPROVAL, approval)
    if by.kind is ActorKind.AGENT:
        raise Forbidden("An agent answers only what is offered to it.")
    option_id = _chosen(approval, option_id, outcome)
    run = lock_run(approval.run_id)
    now = timezone.now()
    won = Approval.objects.filter(pk=approval.pk, state=Approval.State.PENDING, expires_at__gt=now).update(
        state=Approval.State.DECIDED,
        outcome="selected" if option_id else "cancelled",
        option_id=option_id,
        decided_by_kind=by.kind,
        decided_by_id=by.id,
        decided_by_label=by.label[:150],
        decided_at=now,
    )
    approval.refresh_from_db()
    if not won:
        raise _refusal(approval)
    outbox.queue_command(
        run.placed_node_id,
        _decision(approval),
        run=approval.run_id,
        key=str(approval.pk),
        not_after=approval.expires_at,
    )
    record(
        approval.project_id, "approval.decided", by=by, of=("approval", approval.pk), run=approval.run_id,
        approval=approval.pk, outcome=approval.outcome, option=option_id,
    )  # fmt: skip
    append_event(
        run,
        ApprovalDecided.model_validate({
            "approval_id": str(approval.pk), "outcome": approval.outcome, "option_id": option_id, "by": by.as_who(),
        }),
    )  # fmt: skip
    return approval


def _chosen(approval: Approval, option_id: str | None, outcome: str | None) -> str:
    offered = [option["option_id"] for option in approval.request["options"]]
    if (option_id is None) == (outcome is None):
        raise Invalid("Send either option_id or outcome 'cancelled', not both.", options=offered)
    if option_id is None:
        if outcome != "cancelled":
            raise Invalid("The only outcome to choose is 'cancelled'; otherwise send option_id.", options=offered)
        return ""
    if option_id not in offered:
        raise Invalid(f"There is no option {option_id!r}; offered are {', '.join(offered)}.", options=offered)
    return option_id


def _refusal(approval: Approval) -> Conflict:
    if approval.decided_at is None:
        return ApprovalExpired(state=approval.state)
    winner = {"kind": approval.decided_by_kind, "id": approval.decided_by_id, "label": approval.decided_by_label}
    return AlreadyDecided(
        f"{approval.decided_by_label or 'Somebody'} answered this already.",
        state=approval.state, outcome=approval.outcome, option_id=approval.option_id, by=winner,
    )  # fmt: skip


def _decision(approval: Approval) -> DecideApproval:
    return DecideApproval.model_validate(
        {
            "run": str(approval.run_id),
            "approval_id": str(approval.pk),
            "action_hash": approval.action_hash,
            "outcome": approval.outcome,
            "option_id": approval.option_id,
        }
    )


def open_approval(run: Run, requested: ApprovalRequested) -> None:
    """A supervisor asks. Inside the transaction that stores its record."""
    now = timezone.now()
    approval, is_new = Approval.objects.get_or_create(
        pk=UUID(requested.approval_id),
        defaults={
            "project_id": run.project_id,
            "run": run,
            "kind": requested.kind,
            "title": requested.title[:500],
            "request": requested.model_dump(mode="json"),
            "action_hash": requested.action_hash,
            "requested_at": now,
            "expires_at": now + timedelta(seconds=requested.expires_in_seconds),
        },
    )
    if is_new:
        record(
            run.project_id, "approval.requested", by=SYSTEM, of=("approval", approval.pk), run=run.pk,
            approval=approval.pk, node=run.node_id, kind=requested.kind,
        )  # fmt: skip


def resolve_approval(run: Run, resolved: ApprovalResolved) -> None:
    """A supervisor says what became of its question. Inside the transaction that stores its record."""
    changed = run.approvals.filter(
        pk=UUID(resolved.approval_id), state__in=[Approval.State.PENDING, Approval.State.DECIDED]
    ).update(state=resolved.result, resolved_at=timezone.now())
    if changed:
        record(
            run.project_id, f"approval.{resolved.result}", by=SYSTEM, of=("approval", resolved.approval_id),
            run=run.pk, approval=UUID(resolved.approval_id), outcome=resolved.outcome, option=resolved.option_id,
        )  # fmt: skip
