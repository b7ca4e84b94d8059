from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents.models import Approval, Run, RunEvent
from agents.services.approvals import AlreadyDecided, ApprovalExpired, decide_approval
from nodes.contract.errors import HubError, Invalid, NotFound
from nodes.models import Command
from tests.factories import make_approval


@pytest.fixture
def approval(run: Run) -> Approval:
    return make_approval(run)


def test_an_answer_is_decided_here_and_sent_to_the_node(approval: Approval, bob: User) -> None:
    decide_approval(approval, by=actor_of(bob), option_id="yes")
    assert (approval.state, approval.option_id, approval.decided_by_id) == ("decided", "yes", str(bob.pk))
    assert Command.objects.get(run=approval.run_id).kind == "decide_approval"
    assert RunEvent.objects.get(run=approval.run_id).type == "run.approval.decided"


def test_the_outcome_cancelled_is_an_answer_without_an_option(approval: Approval, bob: User) -> None:
    decide_approval(approval, by=actor_of(bob), outcome="cancelled")
    assert (approval.outcome, approval.option_id) == ("cancelled", "")


def test_the_second_answer_is_told_who_won(approval: Approval, alice: User, bob: User) -> None:
    decide_approval(approval, by=actor_of(bob), option_id="yes")
    with pytest.raises(AlreadyDecided) as refused:
        decide_approval(approval, by=actor_of(alice), option_id="no")
    assert refused.value.data["by"]["label"] == "bob"
    assert Command.objects.count() == 1


def test_an_expired_approval_takes_no_answer(run: Run, bob: User) -> None:
    late = make_approval(run, expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(ApprovalExpired):
        decide_approval(late, by=actor_of(bob), option_id="yes")


@pytest.mark.parametrize(
    "answer", [{}, {"option_id": "yes", "outcome": "cancelled"}, {"option_id": "never"}, {"outcome": "selected"}]
)
def test_an_answer_that_does_not_fit_changes_nothing(approval: Approval, bob: User, answer: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        decide_approval(approval, by=actor_of(bob), **answer)
    approval.refresh_from_db()
    assert approval.state == "pending"


def test_an_outsider_is_told_that_there_is_no_such_approval(approval: Approval, charlie: User) -> None:
    with pytest.raises(NotFound):
        decide_approval(approval, by=actor_of(charlie), option_id="yes")


@pytest.mark.django_db(transaction=True)
def test_of_many_answers_at_once_one_wins(approval: Approval, bob: User) -> None:
    actor = actor_of(bob)

    def answer(number: int) -> str:
        try:
            decide_approval(Approval.objects.get(pk=approval.pk), by=actor, option_id=["yes", "no"][number % 2])
        except HubError as error:
            return error.code
        else:
            return "won"
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(answer, range(16)))
    assert sorted(answers) == ["already_decided"] * 15 + ["won"]
