import json

import pytest

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents.models import Agent, Run
from agents.services.agents import archive_agent
from agents.services.runs import PromptTooLarge, start_run
from agents.states import State
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden, Invalid, NotFound, WrongState
from nodes.contract.limits import PROMPT_BYTES
from nodes.contract.reasons import Reason
from nodes.models import Command, Node
from tests.factories import make_agent, make_project, make_run, make_user, node_of


def test_a_run_on_a_node_that_is_up_starts_at_once(agent: Agent, bob: User) -> None:
    run = start_run(agent, by=actor_of(bob), prompt="hello")
    command = Command.objects.get(run=run.pk)
    assert (run.state, command.kind, command.node_id) == (State.STARTING, "start_run", agent.node_id)
    assert json.loads(command.body)["prompt"] == "hello"


def test_starting_a_run_is_audited_with_who_did_it(agent: Agent, bob: User) -> None:
    run = start_run(agent, by=actor_of(bob), prompt="hello")
    assert AuditEvent.objects.get(run=run.pk, name="run.queued").actor_id == str(bob.pk)


def test_a_run_on_a_silent_node_waits_and_says_for_what(agent: Agent, bob: User, lima: Node) -> None:
    agent.node = lima
    run = start_run(agent, by=actor_of(bob), prompt="hello")
    assert (run.state, run.reason) == (State.QUEUED, Reason.NODE_OFFLINE)
    assert not Command.objects.exists()


def test_a_run_on_a_full_node_waits_for_a_place(agent: Agent, bob: User) -> None:
    Node.objects.filter(pk=node_of(agent).pk).update(capacity=1)
    make_run(agent=agent, state=State.RUNNING)
    run = start_run(agent, by=actor_of(bob), prompt="hello")
    assert (run.state, run.reason) == (State.QUEUED, Reason.CAPACITY)


@pytest.mark.parametrize(("ours", "its_own"), [(1, 100), (100, 1), (1, 0)])
def test_the_lesser_of_a_nodes_two_capacities_counts(agent: Agent, bob: User, ours: int, its_own: int) -> None:
    Node.objects.filter(pk=node_of(agent).pk).update(capacity=ours, facts={"capacity": its_own})
    make_run(agent=agent, state=State.RUNNING)
    assert start_run(agent, by=actor_of(bob), prompt="hello").reason == Reason.CAPACITY


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(agent: Agent, bob: User, prompt: str) -> None:
    with pytest.raises(Invalid):
        start_run(agent, by=actor_of(bob), prompt=prompt)
    assert not Run.objects.exists()


def test_a_prompt_over_the_limit_is_refused_and_changes_nothing(agent: Agent, bob: User) -> None:
    with pytest.raises(PromptTooLarge):
        start_run(agent, by=actor_of(bob), prompt="ü" * (PROMPT_BYTES // 2 + 1))
    assert not Run.objects.exists()
    assert not AuditEvent.objects.filter(name="run.queued").exists()


def test_an_archived_agent_starts_no_more_runs(agent: Agent, alice: User, bob: User) -> None:
    archive_agent(agent, by=actor_of(alice))
    agent.refresh_from_db()
    with pytest.raises(WrongState):
        start_run(agent, by=actor_of(bob), prompt="hello")


def test_an_outsider_is_told_that_there_is_no_such_agent(agent: Agent, charlie: User) -> None:
    with pytest.raises(NotFound):
        start_run(agent, by=actor_of(charlie), prompt="hello")


def test_a_viewer_may_look_and_not_start(db: None) -> None:
    agent = make_agent(project=make_project(vera="viewer"))
    with pytest.raises(Forbidden):
        start_run(agent, by=actor_of(make_user("vera")), prompt="hello")
