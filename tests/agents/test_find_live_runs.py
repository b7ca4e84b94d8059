"""Live runs are found without a walk over those that have ended, however many there are."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents import reconciler
from agents.mail.reach import Reach
from agents.models import Agent, Run
from agents.queries import in_states
from agents.reading import counters
from agents.states import LIVE, State
from nodes.contract.commands import StartRun
from nodes.models import Command
from tests.factories import make_node, make_root, make_run, node_of
from tests.plans import plan_of, plans_of


@pytest.mark.parametrize("states", [{State.LOST}, {State.WAITING}, LIVE])
def test_runs_in_live_states_are_found_among_the_live(agent: Agent, states: set[State]) -> None:
    newest = in_states(Run.objects.order_by("-pk"), states)
    assert "live_runs" in plan_of(newest[:51])
    assert "live_runs" in plan_of(newest.filter(project=agent.project)[:51])


def test_a_state_that_ends_a_run_finds_those_that_have_ended(agent: Agent) -> None:
    live, ended = make_run(agent=agent), make_run(agent=agent, state=State.FAILED)
    assert set(in_states(Run.objects.all(), {State.FAILED})) == {ended}
    assert set(in_states(Run.objects.all(), {State.FAILED, State.RUNNING})) == {live, ended}


def test_looking_for_sessions_to_tell_of_mail_reads_live_runs_alone(agent: Agent) -> None:
    make_run(agent=agent)
    reach = Reach()
    plans = plans_of(lambda: reach.tick(timezone.now()))
    assert any("live_runs" in plan for plan in plans)
    assert not _walks(plans)


def test_the_reconciler_reads_live_runs_alone(agent: Agent) -> None:
    make_run(agent=agent)
    plans = plans_of(lambda: reconciler.tick(timezone.now()))
    assert any("live_runs" in plan for plan in plans)
    assert not _walks(plans)


def _walks(plans: list[str]) -> list[str]:
    """Where SQLite's plans go through all runs there ever were."""
    scans = [line for plan in plans for line in plan.splitlines() if "SCAN agents_run" in line]
    return [line for line in scans if "live_runs" not in line and "queued_runs" not in line]


def test_an_agents_and_a_nodes_newest_runs_are_read_in_order(agent: Agent) -> None:
    for narrowed, index in (({"agent": agent}, "runs_of_an_agent"), ({"node": agent.node}, "runs_of_a_node")):
        plan = plan_of(Run.objects.filter(**narrowed).order_by("-pk")[:51])
        assert index in plan
        assert "TEMP B-TREE" not in plan and "Sort" not in plan


def test_runs_by_state_are_not_compared_with_each_other(db: None, client: Client) -> None:
    client.force_login(make_root())
    make_run(state=State.FAILED)
    with CaptureQueriesContext(connection) as queries:
        assert len(client.get("/api/v1/runs/?state=failed").json()["results"]) == 1
    assert not [query for query in queries if "DISTINCT" in query["sql"]]


@pytest.mark.django_db(transaction=True)
def test_nodes_with_commands_to_send_are_found_among_those_commands(agent: Agent) -> None:
    run, idle = make_run(agent=agent), make_node("idle")
    Command.objects.create(node=node_of(agent), run=run.pk, kind=StartRun.KIND)
    Command.objects.create(node=idle, run=run.pk, kind="answered", state=Command.State.ACCEPTED)
    streams = [f"node:{node_of(agent).pk}", f"node:{idle.pk}"]
    assert list(counters(streams)) == streams[:1]
    (plan,) = plans_of(lambda: counters(streams))
    assert "commands_to_send" in plan
