import pytest
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agents.models import Agent, Run
from agents.scheduler import tick
from agents.services.runs import start_run
from agents.states import State
from nodes.contract.reasons import Reason
from nodes.models import Command, Node
from tests.factories import make_agent, make_run


@pytest.fixture
def queued(agent: Agent) -> list[Run]:
    return [make_run(agent=agent, state=State.QUEUED) for _ in range(3)]


def states_of(runs: list[Run]) -> list[str]:
    return [Run.objects.get(pk=run.pk).state for run in runs]


def test_queued_runs_start_oldest_first_up_to_the_capacity(queued: list[Run]) -> None:
    Node.objects.update(capacity=2)
    assert tick(timezone.now()) == 2
    assert states_of(queued) == [State.STARTING, State.STARTING, State.QUEUED]


def test_a_run_is_started_once_however_often_the_scheduler_looks(queued: list[Run]) -> None:
    tick(timezone.now())
    tick(timezone.now())
    assert Command.objects.count() == 3


def test_a_silent_node_does_not_hold_up_the_others(queued: list[Run], lima: Node) -> None:
    waiting = make_run(agent=make_agent("far", node=lima), state=State.QUEUED)
    assert tick(timezone.now()) == 3
    waiting.refresh_from_db()
    assert (waiting.state, waiting.reason) == (State.QUEUED, Reason.NODE_OFFLINE)


def test_many_runs_for_a_node_that_is_gone_hold_up_no_others(agent: Agent, lima: Node) -> None:
    far = make_agent("far", node=lima)
    Run.objects.bulk_create(
        [Run(project=far.project, agent=far, node=lima, prompt="Go.", state=State.QUEUED) for _ in range(300)]
    )
    near = make_run(agent=agent, state=State.QUEUED)
    assert (tick(timezone.now()), states_of([near])) == (1, [State.STARTING])


def test_a_new_run_does_not_overtake_those_that_wait_for_the_same_node(queued: list[Run], agent: Agent) -> None:
    newest = start_run(agent, by=SYSTEM, prompt="Go.")
    assert (newest.state, newest.reason) == (State.QUEUED, Reason.QUEUED)
    Node.objects.update(capacity=3)
    tick(timezone.now())
    assert states_of([*queued, newest]) == [State.STARTING] * 3 + [State.QUEUED]
