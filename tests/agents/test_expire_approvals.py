"""Time-out means deny: said by the hub when it is due, and by the node when it is there."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents import reconciler
from agents.models import Approval, Run
from agents.services.approvals import ApprovalExpired, decide_approval
from agents.services.questions import expire_approvals, resolve_approval
from audit.models import AuditEvent
from nodes.contract.events import ApprovalResolved
from nodes.contract.limits import SILENT_SECONDS
from nodes.models import Node
from tests.factories import make_approval

pytestmark = pytest.mark.django_db


@pytest.fixture
def late(run: Run) -> Approval:
    """Its node has been silent for a while."""
    Node.objects.update(last_heard_at=timezone.now() - timedelta(seconds=SILENT_SECONDS + 1))
    return make_approval(run, expires_at=timezone.now() - timedelta(seconds=1))


def resolved(approval: Approval, result: str, option: str = "no") -> ApprovalResolved:
    return ApprovalResolved.model_validate(
        {"approval_id": str(approval.pk), "result": result, "outcome": "selected", "option_id": option}
    )


def test_the_tick_says_expired_though_the_node_is_away(late: Approval, run: Run) -> None:
    waiting = make_approval(run)
    reconciler.tick(timezone.now())
    late.refresh_from_db()
    waiting.refresh_from_db()
    assert (late.state, late.resolved_at, waiting.state) == ("expired", None, "pending")
    assert AuditEvent.objects.filter(name="approval.expired", approval=late.pk).count() == 1
    assert expire_approvals(timezone.now()) == 0


def test_a_node_that_is_there_says_it_by_itself(run: Run) -> None:
    """The hub's clock may have jumped, and jump back; the supervisor's does not."""
    approval = make_approval(run, expires_at=timezone.now() - timedelta(minutes=50))
    assert expire_approvals(timezone.now()) == 0
    approval.refresh_from_db()
    assert approval.state == "pending"


def test_a_hub_that_was_deaf_hears_its_nodes_first(late: Approval) -> None:
    now = timezone.now()
    assert expire_approvals(now, now - timedelta(seconds=1)) == 0
    assert expire_approvals(now, now - timedelta(minutes=1)) == 1


def test_the_nodes_word_comes_later_and_is_kept(late: Approval, run: Run) -> None:
    expire_approvals(timezone.now())
    resolve_approval(run, resolved(late, "expired"))
    late.refresh_from_db()
    assert late.state == "expired" and late.resolved_at is not None
    assert (late.outcome, late.option_id, late.decided_by_kind) == ("selected", "no", "")
    resolve_approval(run, resolved(late, "applied"))
    late.refresh_from_db()
    assert late.state == "expired", "the node's first word stands"


def test_what_somebody_decided_is_not_replaced_by_what_the_node_chose(run: Run, bob: User) -> None:
    approval = make_approval(run)
    decide_approval(approval, by=actor_of(bob), option_id="yes")
    resolve_approval(run, resolved(approval, "expired"))
    approval.refresh_from_db()
    assert (approval.state, approval.option_id, approval.decided_by_label) == ("expired", "yes", "bob")


def test_a_decision_stays_one_when_its_time_is_over(run: Run, bob: User) -> None:
    approval = make_approval(run)
    decide_approval(approval, by=actor_of(bob), option_id="yes")
    later = timezone.now() + timedelta(hours=1)
    assert expire_approvals(later) == 0
    reconciler.tick(later)  # its command could not be sent in time
    approval.refresh_from_db()
    assert (approval.state, approval.decided_by_label) == ("expired", "bob")
    assert approval.decided_at and approval.resolved_at and approval.decided_at < approval.resolved_at


def test_what_expired_takes_no_answer(late: Approval, bob: User) -> None:
    expire_approvals(timezone.now())
    with pytest.raises(ApprovalExpired):
        decide_approval(late, by=actor_of(bob), option_id="yes")
