"""Live runs are those that a node holds: counted alike everywhere, and without a look at those that have ended."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agenthub_site.accounts.models import User
from agents.models import Agent
from agents.queries import count_live_runs, count_on_nodes, live_runs_of_nodes
from agents.states import ENDED, ON_NODE, State
from tests.factories import make_agent, make_node, make_project, make_root, make_run, make_user, node_of


@pytest.mark.parametrize("state", sorted(State))
def test_a_run_is_live_while_a_node_holds_it(agent: Agent, state: State) -> None:
    run, number = make_run(agent=agent, state=state), int(state in ON_NODE)
    assert count_live_runs("agent")[agent.pk] == count_live_runs("project")[run.project_id] == number
    assert count_on_nodes([node_of(agent).pk]).get(node_of(agent).pk, 0) == number


def test_a_nodes_runs_are_counted_by_project(agent: Agent) -> None:
    other = make_agent("other", project=make_project("other", owner=make_user("dora")), node=agent.node)
    elsewhere = make_run(agent=make_agent("far", project=agent.project, node=make_node("far")))
    for worker in (agent, other, other):
        make_run(agent=worker)
    here = node_of(agent).pk
    assert live_runs_of_nodes([here]) == {here: {agent.project_id: 1, other.project_id: 2}}
    assert live_runs_of_nodes()[node_of(elsewhere).pk] == {agent.project_id: 1}


def test_what_has_ended_is_neither_joined_nor_read(agent: Agent) -> None:
    for state in sorted(ENDED):
        make_run(agent=agent, state=state)
    with CaptureQueriesContext(connection) as queries:
        count_live_runs("agent")
        count_live_runs("project")
        count_on_nodes([node_of(agent).pk])
        live_runs_of_nodes()
    asked = [query["sql"] for query in queries]
    assert len(asked) == 4 and not any(" JOIN " in sql for sql in asked)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # of a few rows all are read sooner than an index
        for sql in asked:
            cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}")
            plan = " ".join(str(part) for row in cursor.fetchall() for part in row)
            assert "live_runs_" in plan, plan


def test_registry_and_pages_agree(agent: Agent, alice: User) -> None:
    for state in sorted(State):
        make_run(agent=agent, state=state)
    node, held = node_of(agent), len(ON_NODE)
    root = Client(SERVER_NAME="localhost")
    root.force_login(make_root())
    assert root.get(f"/api/admin/agent-nodes/{node.slug}").json()["live_runs"] == held
    assert root.get("/api/admin/agent-nodes").json()["results"][0]["live_runs"] == held
    (machine,) = root.get("/nodes/").context["machines"]
    assert (machine.live_runs, root.get(f"/nodes/{node.pk}/").context["machine"].live_runs) == (held, held)
    assert f"{held} runs on it are lost" in root.get(f"/nodes/{node.pk}/revoke/").content.decode()
    for path, name in (
        ("/agents/", "agents"),
        ("/projects/", "projects"),
        (f"/projects/{agent.project.slug}/", "agents"),
        (f"/nodes/{node.pk}/", "agents"),
    ):
        assert [row.live_runs for row in root.get(path).context[name]] == [held], path
