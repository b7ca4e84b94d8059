"""``agenthub actor`` within a run: whose mail and triggers are a run's, and ids that are none."""

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from agenthub_site.accounts.models import Project
from agents.mail.acting import OtherRun, acting_in_run
from agents.mail.actor_calls import call
from agents.models import Run
from agents.triggers.models import Trigger
from mailboxes.models import Message
from mailboxes.services import Address, send
from tests.factories import make_agent, make_node, make_run

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Address("system", "system")


@pytest.fixture
def runs(project: Project) -> list[Run]:
    """Two live ones of one agent."""
    agent = make_agent("twin", project=project, node=make_node("bergen"))
    return [make_run(agent=agent), make_run(agent=agent)]


def ask(run: Run, verb: str, **body: Any) -> Any:
    by = acting_in_run(run.node_id or run.pk, run.pk)
    return async_to_sync(call)(by, verb, json.dumps(body).encode())


def write(run: Run) -> str:
    """A message to the agent that belongs to the run."""
    sent = send(run.project_id, SYSTEM, [Address.of("agent", run.agent_id)], "Yours", run_id=run.pk)
    return str(sent.message_id)


def test_naming_another_live_run_shows_and_changes_nothing_of_it(runs: list[Run]) -> None:
    mine, other = runs
    theirs = write(other)
    named = {"run_id": str(other.pk)}
    assert ask(mine, "inbox", **named)["messages"] == []
    assert ask(mine, "inbox", **named)["pending_count"] == 0
    assert ask(mine, "receive", **named)["messages"] == []
    assert ask(mine, "ack", message_ids=[theirs], **named)["results"][0]["error"]["code"] == "not_found"
    trigger = ask(other, "time-trigger-set", message="Later", delay_seconds=60)
    assert ask(mine, "time-trigger-list", **named)["triggers"] == []
    (refused,) = ask(mine, "time-trigger-cancel", trigger_ids=[trigger["id"]], **named)["results"]
    assert (refused["error"]["code"], Trigger.objects.get().state) == ("not_found", "active")
    assert ask(other, "ack", message_ids=[theirs], run_id=str(other.pk))["results"][0]["status_changed"]


def test_a_run_names_itself_and_one_that_is_over(runs: list[Run]) -> None:
    mine, over = runs
    ours, left = write(mine), write(over)
    Run.objects.filter(pk=over.pk).update(state="succeeded", ended_at=over.created_at)
    for run, message in ((mine, ours), (over, left)):
        assert ask(mine, "ack", message_ids=[message], run_id=str(run.pk))["results"][0]["status_changed"]


def test_an_id_that_is_none_fails_by_itself(runs: list[Run]) -> None:
    ours = write(runs[0])
    wrong, right = ask(runs[0], "ack", message_ids=["nonsense", ours])["results"]
    assert (wrong["message_id"], wrong["error"]["code"]) == ("nonsense", "not_found")
    assert right["status_changed"]


@pytest.mark.parametrize("verb", ["send", "time-trigger-set"])
def test_a_run_writes_into_itself_alone(runs: list[Run], verb: str) -> None:
    mine, other = runs
    written: dict[str, Any] = (
        {"to": ["twin"], "payload": "Hello"} if verb == "send" else {"message": "Later", "delay_seconds": 60}
    )
    with pytest.raises(OtherRun):
        ask(mine, verb, **written, run_id=str(other.pk))
    assert (Message.objects.count(), Trigger.objects.count()) == (0, 0)
    ask(mine, verb, **written, run_id=str(mine.pk))
    assert (Message.objects.get() if verb == "send" else Trigger.objects.get()).run_id == mine.pk


def test_an_answer_names_another_run_no_more_than_any_message(runs: list[Run]) -> None:
    mine, other = runs
    with pytest.raises(OtherRun):
        ask(mine, "send", to=["twin"], payload="Yes", reply_to=write(mine), run_id=str(other.pk))


def test_an_answer_finds_who_started_the_run(runs: list[Run]) -> None:
    mine = runs[0]
    assert mine.user is not None
    asked = send(mine.project_id, Address.of("user", mine.user.pk), [Address.of("agent", mine.agent_id)], "How far?")
    answer = ask(mine, "send", to=["user"], payload="Done", reply_to=str(asked.message_id))
    assert [(to["kind"], to["id"]) for to in answer["to"]] == [("user", str(mine.user.pk))]
