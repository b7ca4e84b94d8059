import pytest

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents.models import Agent, Run
from agents.services.runs import InputConflict, send_input
from agents.states import State
from audit.models import AuditEvent
from nodes.contract.commands import SendInput
from nodes.contract.errors import Invalid, WrongState
from nodes.models import Command, Node
from tests.factories import make_agent, make_run


def test_input_travels_to_the_run_with_its_id(run: Run, bob: User) -> None:
    input_id = send_input(run, by=actor_of(bob), text="And the tests?", input_id="i-1", mode="interrupt")
    sent = SendInput.model_validate_json(Command.objects.get(run=run.pk).body)
    assert (input_id, sent.input_id, sent.text, sent.mode) == ("i-1", "i-1", "And the tests?", "interrupt")


@pytest.mark.parametrize("state", [State.QUEUED, State.STOPPING, State.SUCCEEDED, State.FAILED])
def test_a_run_that_cannot_hear_refuses_input(agent: Agent, bob: User, state: State) -> None:
    with pytest.raises(WrongState):
        send_input(make_run(agent=agent, state=state), by=actor_of(bob), text="hello")


def test_a_command_takes_no_further_input(run: Run, bob: User, oslo: Node) -> None:
    command = make_agent("build", node=oslo, runtime="command", preset="", command=["make"])
    with pytest.raises(WrongState):
        send_input(make_run(agent=command), by=actor_of(bob), text="hello")


def test_the_same_input_twice_is_one_even_after_it_was_answered(run: Run, bob: User) -> None:
    send_input(run, by=actor_of(bob), text="Go.", input_id="i-1")
    Command.objects.update(state=Command.State.ACCEPTED, body="")
    Run.objects.update(state=State.SUCCEEDED)
    assert send_input(run, by=actor_of(bob), text="Go.", input_id="i-1") == "i-1"
    assert Command.objects.count() == AuditEvent.objects.filter(name="run.input_sent").count() == 1


@pytest.mark.parametrize("other", [{"text": "Stop."}, {"mode": "interrupt"}])
def test_another_input_under_the_same_id_is_a_conflict(run: Run, bob: User, other: dict[str, str]) -> None:
    send_input(run, by=actor_of(bob), text="Go.", input_id="i-1")
    with pytest.raises(InputConflict):
        send_input(run, by=actor_of(bob), **{"text": "Go.", "input_id": "i-1", **other})
    assert Command.objects.count() == 1


def test_the_id_of_what_the_run_was_started_with_is_taken(run: Run, bob: User) -> None:
    with pytest.raises(InputConflict):
        send_input(run, by=actor_of(bob), text="Go.", input_id=str(run.pk))


def test_inputs_of_several_runs_may_have_one_id(run: Run, agent: Agent, bob: User) -> None:
    for each in (run, make_run(agent=agent)):
        send_input(each, by=actor_of(bob), text=f"Go, {each.pk}.", input_id="i-1")
    assert Command.objects.count() == 2


@pytest.mark.parametrize("input_id", ["with spaces", "x" * 65, "\n", "ünicode"])
def test_an_id_that_does_not_fit_is_refused(run: Run, bob: User, input_id: str) -> None:
    with pytest.raises(Invalid):
        send_input(run, by=actor_of(bob), text="hello", input_id=input_id)


def test_an_unknown_mode_is_refused(run: Run, bob: User) -> None:
    with pytest.raises(Invalid):
        send_input(run, by=actor_of(bob), text="hello", mode="shout")
    assert not Command.objects.exists()
