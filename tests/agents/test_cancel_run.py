import pytest

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents.models import Agent, Run, RunEvent
from agents.services.runs import cancel_run, start_run
from agents.states import State
from nodes.contract.errors import Forbidden, NotFound, WrongState
from nodes.models import Command, Node
from tests.factories import make_project, make_run, make_user


def kinds_of(run: Run) -> list[tuple[str, str]]:
    return list(Command.objects.filter(run=run.pk).values_list("kind", "state"))


def test_cancelling_a_queued_run_ends_it_at_once(agent: Agent, bob: User, lima: Node) -> None:
    agent.node = lima
    run = cancel_run(start_run(agent, by=actor_of(bob), prompt="hello"), by=actor_of(bob))
    assert (run.state, run.last_seq) == (State.CANCELLED, 1)
    assert RunEvent.objects.get(run=run).type == "run.cancelled"


def test_cancelling_before_the_first_send_withdraws_the_start(agent: Agent, bob: User) -> None:
    run = cancel_run(start_run(agent, by=actor_of(bob), prompt="hello"), by=actor_of(bob))
    assert run.state == State.CANCELLED
    assert kinds_of(run) == [("start_run", "withdrawn")]


def test_cancelling_a_running_run_asks_its_node(run: Run, bob: User) -> None:
    run = cancel_run(run, by=actor_of(bob))
    assert run.state == State.STOPPING
    assert kinds_of(run) == [("cancel_run", "pending")]


def test_cancelling_twice_is_one_cancel(run: Run, bob: User) -> None:
    cancel_run(cancel_run(run, by=actor_of(bob)), by=actor_of(bob))
    assert len(kinds_of(run)) == 1


def test_a_run_that_has_ended_cannot_be_cancelled(agent: Agent, bob: User) -> None:
    with pytest.raises(WrongState):
        cancel_run(make_run(agent=agent, state=State.SUCCEEDED), by=actor_of(bob))


def test_an_outsider_is_told_that_there_is_no_such_run(run: Run, charlie: User) -> None:
    with pytest.raises(NotFound):
        cancel_run(run, by=actor_of(charlie))


def test_a_reviewer_may_not_cancel(run: Run) -> None:
    make_project(rita="reviewer")
    with pytest.raises(Forbidden):
        cancel_run(run, by=actor_of(make_user("rita")))
