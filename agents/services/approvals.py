"""Approvals are decided here: one answer each, bound to one action, from those whom the question is put to."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agenthub_site.accounts.actors import Actor, ActorKind
from agenthub_site.accounts.permissions import Can, may, require
from audit.services import record
from nodes import outbox
from nodes.contract.commands import DecideApproval
from nodes.contract.errors import Conflict, Forbidden, HubError, Invalid, NotFound
from nodes.contract.events import ApprovalDecided

from ..models import Approval
from .approval_bell import ring_for_approvals
from .events import append_event
from .moves import lock_run

MOST_AT_ONCE: Final = 200
BulkAnswer = Literal["allow_once", "reject"]


class AlreadyDecided(Conflict):
    code = "already_decided"
    message = "This approval was answered already."


class ApprovalExpired(Conflict):
    code = "approval_expired"
    message = "This approval has expired; the agent was told no."


class NotOffered(Forbidden):
    code = "not_offered"
    message = "This question is put to others."


class NotYetOffered(Forbidden):
    code = "not_yet_offered"
    message = "This question is with a reviewing agent first."


class AskedEachTime(Conflict):
    code = "asked_each_time"
    message = "A rule says to ask for this each time, so the agent may not remember an answer: allow it this once."


class AlwaysNeedsPolicy(Forbidden):
    code = "always_needs_policy_edit"
    message = (
        "With its own “always” the agent asks no more, and no rule that comes later stops it: that takes policy:edit. "
        "Allow it this once."
    )


def require_own_always(approval: Approval, by: Actor) -> None:
    """Whether the runtime's own ``allow_always`` may be chosen. Raises ``AskedEachTime`` or ``AlwaysNeedsPolicy``."""
    if approval.request.get("is_strict"):
        raise AskedEachTime()
    if not may(by, Can.EDIT_POLICY, approval.project_id):
        raise AlwaysNeedsPolicy(capability=Can.EDIT_POLICY.value)


@transaction.atomic
def decide_approval(
    approval: Approval, *, by: Actor, option_id: str | None = None, outcome: str | None = None
) -> Approval:
    """Answer with one of the runtime's options, or with the outcome ``cancelled``; never both.

    The runtime's own ``allow_always`` is for who may edit the policy, and not where it is asked each time
    (``AlwaysNeedsPolicy``, ``AskedEachTime``). One answer wins: ``AlreadyDecided`` names the winner in ``data``. Whom
    it is not put to, or not yet, gets ``NotOffered`` or ``NotYetOffered``. The answer is sent to the node, bound to
    the hash of the exact action.
    """
    require(by, Can.ANSWER_APPROVAL, approval)
    option_id = _chosen(approval, option_id, outcome)
    kinds = {option["kind"] for option in approval.request["options"] if option["option_id"] == option_id}
    if "allow_always" in kinds:
        require_own_always(approval, by)
    run = lock_run(approval.run_id)
    now = timezone.now()
    asked = Approval.objects.filter(pk=approval.pk)
    if not asked.offered_to(by, now).exists():
        raise _not_asked(approval, by, now)
    won = asked.waiting(now).update(
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
    ring_for_approvals()
    return approval


def require_asked(approval: Approval, *, by: Actor) -> None:
    """Raises what ``decide_approval`` would to whom it is not put, and where it is over, whatever the answer is."""
    require(by, Can.ANSWER_APPROVAL, approval)
    now = timezone.now()
    asked = Approval.objects.filter(pk=approval.pk)
    if not asked.offered_to(by, now).exists():
        raise _not_asked(approval, by, now)
    if not asked.waiting(now).exists():
        approval.refresh_from_db()
        raise _refusal(approval)


def decide_approvals(ids: list[UUID], answer: BulkAnswer, *, by: Actor) -> list[Approval | HubError]:
    """Give many questions the same kind of answer, each with its own option of that kind; what became of each.

    Each is a transaction of its own, and a refusal stops none behind it. *Always* is not to be had here. Where no
    option says no, cancelling does. One's own same answer, sent twice, is told as given.
    """
    if not 0 < len(ids) <= MOST_AT_ONCE:
        raise Invalid(f"Answer from 1 to {MOST_AT_ONCE} approvals at once.", limit=MOST_AT_ONCE)
    seen = {approval.pk: approval for approval in Approval.objects.visible_to(by).filter(pk__in=ids)}
    return [_decide_one(seen.get(pk), answer, by) for pk in ids]


def _decide_one(approval: Approval | None, answer: BulkAnswer, by: Actor) -> Approval | HubError:
    try:
        if approval is None:
            raise NotFound("There is no such approval that you may see.")
        option_id = _option_of_kind(approval, answer)
        try:
            return decide_approval(approval, by=by, option_id=option_id, outcome=None if option_id else "cancelled")
        except AlreadyDecided:
            is_mine = (approval.decided_by_kind, approval.decided_by_id) == (by.kind, by.id)
            if is_mine and approval.option_id == (option_id or ""):
                return approval
            raise
    except HubError as error:
        return error


def _option_of_kind(approval: Approval, answer: BulkAnswer) -> str | None:
    """The option that does this once. None: cancel, where the runtime offers no way to say no just now."""
    kind = "allow_once" if answer == "allow_once" else "reject_once"
    for option in approval.request["options"]:
        if option["kind"] == kind:
            return str(option["option_id"])
    if answer == "allow_once":
        raise Invalid("This question has no answer that allows it once; answer it by itself.", kind=kind)
    return None


def _not_asked(approval: Approval, by: Actor, now: datetime) -> Forbidden:
    """Why the question is not put to somebody whose role may answer."""
    if by.kind is ActorKind.AGENT:
        return NotOffered("An agent answers only what is offered to it, and never for a run of its own.")
    asked = {"roles": approval.asks_roles}
    if approval.people_at is not None and approval.people_at > now:
        at = approval.people_at.isoformat().replace("+00:00", "Z")
        agent = approval.offered_agent.name if approval.offered_agent else "the reviewing agent"
        return NotYetOffered(f"This question is with {agent} first; people are asked from {at} on.", at=at, **asked)
    return NotOffered(f"The policy puts this question to: {', '.join(approval.asks_roles)}.", **asked)


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
    if approval.state == Approval.State.SUPERSEDED and approval.decided_at is None:
        return ApprovalExpired("Nobody needs an answer any more: the turn or the run ended.", state=approval.state)
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
