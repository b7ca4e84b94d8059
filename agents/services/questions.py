"""Approvals as the node's records open and resolve them, and the clock. *Decided* and *applied* are two facts."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agenthub_site.accounts.actors import AGENT_ROLE, SYSTEM
from agenthub_site.accounts.permissions import TABLE, Can
from audit.services import record
from nodes.contract.events import ApprovalRequested, ApprovalResolved
from nodes.contract.limits import SILENT_SECONDS

from ..models import Approval, Run
from .approval_bell import ring_for_approvals
from .moves import lock_run
from .policies import review_of

_EXPIRED_AT_ONCE: Final = 500


def open_approval(run: Run, requested: ApprovalRequested) -> None:
    """A supervisor asks. Inside the transaction that stores its record; a reviewing agent is told after it."""
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
            **_reviewers(run, now),
        },
    )
    if is_new:
        record(
            run.project_id, "approval.requested", by=SYSTEM, of=("approval", approval.pk), run=run.pk,
            approval=approval.pk, node=run.node_id, kind=requested.kind,
        )  # fmt: skip
        ring_for_approvals()


def _reviewers(run: Run, now: datetime) -> dict[str, Any]:
    """Whom the policy has asked: no roles where it asks all that may answer."""
    review = review_of(run)
    is_narrowed = review.roles != TABLE[Can.ANSWER_APPROVAL].roles - {AGENT_ROLE}
    return {
        "offered_roles": f" {' '.join(sorted(review.roles))} " if is_narrowed else "",
        "offered_agent_id": review.agent_id,
        "people_at": now + timedelta(seconds=review.people_after_seconds) if review.agent_id else None,
    }


def resolve_approval(run: Run, resolved: ApprovalResolved) -> None:
    """A supervisor says what became of its question. Inside the transaction that stores its record.

    What the clock here took for expired is as its node says, which comes later. Where nobody decided, the option that
    the node chose is kept in place of a decision's.
    """
    State = Approval.State
    is_open = Q(state__in=[State.PENDING, State.DECIDED]) | Q(state=State.EXPIRED, resolved_at=None)
    told = run.approvals.filter(is_open, pk=UUID(resolved.approval_id))
    became = {"state": resolved.result, "resolved_at": timezone.now()}
    chosen = {"outcome": resolved.outcome, "option_id": resolved.option_id} if resolved.result == "expired" else {}
    if told.filter(decided_at=None).update(**became, **chosen) or told.update(**became):
        record(
            run.project_id, f"approval.{resolved.result}", by=SYSTEM, of=("approval", resolved.approval_id),
            run=run.pk, approval=UUID(resolved.approval_id), outcome=resolved.outcome, option=resolved.option_id,
        )  # fmt: skip
        ring_for_approvals()


def expire_approvals(now: datetime, listening_since: datetime | None = None) -> int:
    """Questions that nobody answered in time are over also where their node is not there to say so.

    A node that is heard says it by itself, by a clock that does not jump. ``resolved_at`` stays empty until the node
    has said that the agent was told no. Returns how many.
    """
    silent_since = now - timedelta(seconds=SILENT_SECONDS)
    if listening_since is not None and listening_since > silent_since:
        return 0
    is_away = Q(run__node__last_heard_at=None) | Q(run__node__last_heard_at__lt=silent_since)
    late = Approval.objects.filter(is_away, state=Approval.State.PENDING, expires_at__lte=now)
    found = late.order_by("expires_at").values_list("pk", "run_id")[:_EXPIRED_AT_ONCE]
    return sum(_expire(pk, run_id, now) for pk, run_id in list(found))


@transaction.atomic
def _expire(approval_id: UUID, run_id: UUID, now: datetime) -> bool:
    run = lock_run(run_id)
    late = run.approvals.filter(pk=approval_id, state=Approval.State.PENDING, expires_at__lte=now)
    if not late.update(state=Approval.State.EXPIRED):
        return False
    record(
        run.project_id, "approval.expired", by=SYSTEM, of=("approval", approval_id), run=run.pk, approval=approval_id,
        node=run.node_id,
    )  # fmt: skip
    ring_for_approvals()
    return True
