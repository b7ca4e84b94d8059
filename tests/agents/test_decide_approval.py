from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents import answering
from agents.models import Approval, Run, RunEvent
from agents.services.approvals import AlreadyDecided, AlwaysNeedsPolicy, ApprovalExpired, AskedEachTime, decide_approval
from nodes.contract.errors import HubError, Invalid, NotFound
from nodes.models import Command
from tests.api.clients import Api
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


def test_a_question_that_went_with_its_run_says_so(run: Run, bob: User) -> None:
    gone = make_approval(run, state="superseded")
    with pytest.raises(ApprovalExpired, match="the run ended"):
        decide_approval(gone, by=actor_of(bob), option_id="yes")


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
def test_of_a_hundred_answers_at_once_through_three_doors_one_wins(approval: Approval, alice: User, bob: User) -> None:
    people = [actor_of(alice), actor_of(bob)]
    rest = [Api(alice), Api(bob)]

    def answer(number: int) -> tuple[str, str]:
        """(won or the code, who won as it was told)."""
        option = ["yes", "no"][number // 2 % 2]
        try:
            if number % 3 == 0:
                decided = decide_approval(Approval.objects.get(pk=approval.pk), by=people[number % 2], option_id=option)
                return "won", decided.decided_by_label
            if number % 3 == 1:
                given = {"approval_id": str(approval.pk), "option_id": option}
                return "won", answering._decide(people[number % 2], given, None)["answered"]["by"]["label"]
            url = f"/api/v1/runs/{approval.run_id}/approvals/{approval.pk}/decide/"
            told = rest[number % 2].post(url, {"option_id": option})
            if told.status_code == 200:
                return "won", told.json()["decided_by"]["label"]
            error = told.json()["error"]
            return error["code"], error["data"]["by"]["label"]
        except HubError as error:
            return error.code, error.data["by"]["label"]
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(answer, range(100)))
    assert sorted(code for code, _ in answers) == ["already_decided"] * 99 + ["won"]
    approval.refresh_from_db()
    assert {label for _, label in answers} == {approval.decided_by_label}, "all are told the same winner"
    assert Command.objects.count() == 1
    assert RunEvent.objects.filter(run=approval.run_id).count() == 1


def with_always(run: Run, *, is_strict: bool = False) -> Approval:
    approval = make_approval(run)
    approval.request["options"].append({"option_id": "ever", "name": "Always", "kind": "allow_always"})
    approval.request["is_strict"] = is_strict
    approval.save(update_fields=["request"])
    return approval


def test_a_runtimes_own_always_takes_the_right_to_edit_the_policy(run: Run, alice: User, bob: User) -> None:
    with pytest.raises(AlwaysNeedsPolicy) as refused:
        decide_approval(with_always(run), by=actor_of(bob), option_id="ever")
    assert (refused.value.code, refused.value.http) == ("always_needs_policy_edit", 403)
    assert not Command.objects.exists()
    decide_approval(approval := with_always(run), by=actor_of(alice), option_id="ever")
    assert (approval.state, approval.option_id) == ("decided", "ever")


def test_what_is_asked_each_time_is_not_left_to_a_runtimes_memory(run: Run, alice: User) -> None:
    approval = with_always(run, is_strict=True)
    with pytest.raises(AskedEachTime) as refused:
        decide_approval(approval, by=actor_of(alice), option_id="ever")
    assert (refused.value.code, refused.value.http) == ("asked_each_time", 409)
    decide_approval(approval, by=actor_of(alice), option_id="yes")
    assert approval.state == "decided"
