"""A question is told to the policy's reviewing agent by mail, and answered by it: never for its own run."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents.mail.acting import Acting, actor_of_agent
from agents.mail.actor_calls import permission_review_respond
from agents.mail.reviews import RespondIn, respond, tell_reviewers
from agents.models import Agent, Approval, Run
from agents.rules import PolicyReview
from agents.services.approvals import AlreadyDecided, NotYetOffered, decide_approval
from mailboxes.services import Address, inbox
from nodes.contract.errors import Forbidden, Invalid
from nodes.contract.events import ApprovalOption, ApprovalRequested
from nodes.contract.ids import new_id
from tests.agents.records import commit
from tests.factories import make_agent

ONCE = ApprovalOption(option_id="yes", name="Allow", kind="allow_once")
ALWAYS = ApprovalOption(option_id="ever", name="Always", kind="allow_always")
NO = ApprovalOption(option_id="no", name="Reject", kind="reject_once")


@pytest.fixture
def critic(run: Run) -> Agent:
    return make_agent("critic", project=run.project)


@pytest.fixture
def by(critic: Agent) -> Actor:
    return actor_of_agent(critic)


def ask(
    run: Run, *options: ApprovalOption, reviewer: Agent | None = None, tell: bool = True, **fields: Any
) -> Approval:
    """The run asks, under a policy that names the reviewer, who is told."""
    PolicyReview.objects.update_or_create(project=run.project, defaults={"reviewer": reviewer})
    asked = ApprovalRequested(
        approval_id=str(new_id()), kind="shell", title="Run make\ttest", options=list(options) or [ONCE, ALWAYS, NO],
        action_hash="h", expires_in_seconds=600, **{"command": "make test", **fields},
    )  # fmt: skip
    commit(run, asked, first=run.last_seq + 1)
    if tell:
        tell_reviewers(timezone.now())
    return Approval.objects.get(pk=UUID(asked.approval_id))


def mail_of(agent: Agent) -> list[Any]:
    return inbox(Address.of("agent", agent.pk)).results


def answer(by: Actor, *approvals: Approval, **given: Any) -> list[dict[str, Any]]:
    ids = [str(approval.pk) for approval in approvals]
    return respond(by, RespondIn(permission_ids=ids, **given))


def test_the_reviewer_is_told_what_is_asked_and_how_to_answer(run: Run, critic: Agent) -> None:
    approval = ask(run, reviewer=critic)
    (mail,) = mail_of(critic)
    assert (mail.kind, mail.subject, mail.sender.kind) == ("permission_review", "Review: Run make test", "system")
    told = mail.payload
    assert (told["permission_id"], told["command"], told["agent"]) == (str(approval.pk), "make test", "demo")
    assert [option["option_id"] for option in told["options"]] == ["yes", "ever", "no"]


def test_what_is_asked_may_be_long(run: Run, critic: Agent) -> None:
    ask(run, reviewer=critic, command="x" * 40_000, paths=["y" * 900] * 20)
    assert len(mail_of(critic)[0].payload_text) < 30_000


def test_a_question_is_told_once_also_where_a_crash_forgot_that_it_was(run: Run, critic: Agent) -> None:
    ask(run, reviewer=critic)
    assert tell_reviewers(timezone.now()) == 0
    Approval.objects.update(review_told_at=None)
    Agent.objects.filter(pk=run.agent_id).update(name="renamed")  # the same key now says something else
    assert [tell_reviewers(timezone.now()) for _ in range(2)] == [1, 0]
    assert len(mail_of(critic)) == 1


def test_what_does_not_fit_into_mail_is_left_to_people_and_stops_not_the_next(run: Run, critic: Agent) -> None:
    broken, sound = (ask(run, reviewer=critic, tell=False) for _ in range(2))
    wide = {**broken.request, "command": "\U0001f6a2" * 4_000, "paths": ["\U0001f6a2" * 500] * 20, "options": [
        {"option_id": "\U0001f6a2" * 200, "name": "x", "kind": "allow_once"}
    ] * 20}  # fmt: skip
    Approval.objects.filter(pk=broken.pk).update(request=wide)
    assert [tell_reviewers(timezone.now()) for _ in range(2)] == [2, 0]
    assert [mail.payload["permission_id"] for mail in mail_of(critic)] == [str(sound.pk)]


def test_opening_a_question_locks_no_inbox(run: Run, critic: Agent) -> None:
    with CaptureQueriesContext(connection) as seen:
        ask(run, reviewer=critic, tell=False)
    assert not [query["sql"] for query in seen.captured_queries if "mailbox_" in query["sql"]]
    assert mail_of(critic) == [] and tell_reviewers(timezone.now()) == 1


def test_what_is_over_is_told_to_nobody(run: Run, critic: Agent) -> None:
    approval = ask(run)
    Approval.objects.update(offered_agent=critic, expires_at=timezone.now())
    assert tell_reviewers(timezone.now()) == 0
    Approval.objects.update(expires_at=approval.expires_at, state="decided")
    assert tell_reviewers(timezone.now()) == 0 and mail_of(critic) == []


def test_nobody_is_told_where_the_policy_names_none_or_the_one_who_asks(run: Run, agent: Agent) -> None:
    ask(run)
    ask(run, reviewer=agent)
    assert mail_of(agent) == []


def test_a_decision_holds_this_once(run: Run, critic: Agent, by: Actor) -> None:
    (allowed,) = answer(by, first := ask(run, reviewer=critic), decision="allow")
    (denied,) = answer(by, ask(run, reviewer=critic), decision="deny")
    assert (allowed["status"], allowed["option_id"], denied["option_id"]) == ("ok", "yes", "no")
    assert (allowed["reviewed_by_actor_id"], allowed["permission_id"]) == (str(critic.pk), str(first.pk))


def test_what_lasts_is_chosen_by_its_option_and_the_refusal_lists_them(run: Run, critic: Agent, by: Actor) -> None:
    approval = ask(run, ALWAYS, NO, reviewer=critic)
    (refused,) = answer(by, approval, decision="allow")
    assert (refused["status"], refused["error"]["code"]) == ("refused", "invalid")
    assert refused["error"]["data"]["options"] == ["ever", "no"]
    assert "ever (allow_always)" in refused["error"]["message"]
    (refused,) = answer(by, approval, option_id="ever")
    assert refused["error"]["code"] == "always_needs_policy_edit"  # which no agent may
    never = ApprovalOption(option_id="never", name="Never", kind="reject_always")
    assert answer(by, ask(run, never, reviewer=critic), option_id="never")[0]["option_id"] == "never"


def test_whom_it_is_not_put_to_is_not_told_the_options(run: Run, critic: Agent) -> None:
    (refused,) = answer(actor_of_agent(run.agent), ask(run, ALWAYS, NO, reviewer=critic), decision="allow")
    assert (refused["error"]["code"], refused["error"]["data"]) == ("not_offered", {})


@pytest.mark.parametrize("given", [{"decision": "allow"}, {"option_id": "nonsense"}])
def test_whatever_a_second_answer_is_it_is_told_who_won(
    run: Run, critic: Agent, by: Actor, given: dict[str, Any]
) -> None:
    approval = ask(run, ALWAYS, NO, reviewer=critic)
    answer(by, approval, option_id="no")
    (second,) = answer(by, approval, **given)
    assert (second["status"], second["option_id"]) == ("already_resolved", "no")


def test_several_are_answered_in_order_going_on_after_a_refusal(run: Run, critic: Agent, by: Actor) -> None:
    first, second = ask(run, reviewer=critic), ask(run, reviewer=critic)
    answer(by, first, outcome="cancelled")
    told = answer(by, first, Approval(id=new_id()), second, decision="deny")
    assert [each["status"] for each in told] == ["already_resolved", "refused", "ok"]
    assert (told[0]["reviewed_by"], told[0]["error"]["code"]) == ("harbour/critic", "already_decided")


@pytest.mark.parametrize(
    "given", [{}, {"option_id": "yes", "outcome": "cancelled"}, {"option_id": "yes", "decision": "allow"}]
)
def test_one_answers_in_one_way(run: Run, critic: Agent, by: Actor, given: dict[str, Any]) -> None:
    approval = ask(run, reviewer=critic)
    with pytest.raises(Invalid):
        answer(by, approval, **given)
    approval.refresh_from_db()
    assert approval.state == "pending"


def test_an_agent_never_answers_for_its_own_run_or_what_is_put_to_another(
    run: Run, agent: Agent, critic: Agent
) -> None:
    approval = ask(run, reviewer=critic)
    other = make_agent("other", project=run.project)
    for stranger in (agent, other):
        (refused,) = answer(actor_of_agent(stranger), approval, decision="allow")
        assert refused["error"]["code"] == "not_offered"


def test_people_are_asked_after_the_set_time_and_told_who_won(run: Run, critic: Agent, by: Actor, bob: User) -> None:
    person = actor_of(bob)
    waiting, late = ask(run, reviewer=critic), ask(run, reviewer=critic)
    with pytest.raises(NotYetOffered):
        decide_approval(waiting, by=person, option_id="no")
    Approval.objects.update(people_at=timezone.now() - timedelta(seconds=1))
    decide_approval(waiting, by=person, option_id="no")
    assert answer(by, waiting, decision="allow")[0]["reviewed_by"] == "bob"
    answer(by, late, decision="allow")
    late.refresh_from_db()
    with pytest.raises(AlreadyDecided) as told:
        decide_approval(late, by=person, option_id="no")
    assert told.value.data["by"]["label"] == "harbour/critic"


def test_people_do_not_answer_by_the_nodes_secret(run: Run, critic: Agent, bob: User) -> None:
    approval = ask(run, reviewer=critic)
    Approval.objects.update(people_at=timezone.now() - timedelta(seconds=1))
    body = RespondIn(permission_ids=[str(approval.pk)], decision="allow").model_dump_json().encode()
    with pytest.raises(Forbidden):
        async_to_sync(permission_review_respond)(Acting(actor_of(bob), run.project_id), body)
    approval.refresh_from_db()
    assert approval.state == "pending"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.mail.actor_calls.in_thread", _here)
        told = async_to_sync(permission_review_respond)(Acting(actor_of_agent(critic), run.project_id), body)
    assert told["results"][0]["status"] == "ok"


async def _here(work: Any, *given: Any) -> Any:
    return await sync_to_async(work)(*given)
