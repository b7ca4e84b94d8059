"""A run has at least the isolation that its agent, its project or the hub demands; a node that cannot give it, none."""

import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from agenthub_site.accounts.actors import SYSTEM, Held
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agenthub_site.accounts.permissions import Can
from agenthub_site.accounts.services import edit_project
from agents.isolation import IsolationUnavailable
from agents.models import Agent, Run
from agents.scheduler import tick
from agents.services.agents import create_agent, edit_agent
from agents.services.runs import start_run
from agents.states import State
from audit.models import AuditEvent
from nodes.contract.config import IsolationConfig
from nodes.contract.errors import Forbidden
from nodes.models import Command, Node
from tests.factories import make_node

PLAIN = {"cpus": 2}
"""What a node that knows nothing of isolation says of itself."""
ABLE = {"cpus": 2, "isolations": ["masked"]}


@pytest.fixture
def plain(db: None) -> Node:
    return make_node("plain", facts=PLAIN)


@pytest.fixture
def able(db: None) -> Node:
    return make_node("able", facts=ABLE)


def make(project: Project, node: Node | None, **fields: Any) -> Agent:
    where: dict[str, Any] = {"node": node} if node else {"pool": "any"}
    return create_agent(project, by=SYSTEM, name="a", preset="scripted", worktree_repo="/srv/q", **where, **fields)


def sent(run: Run) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(Command.objects.get(run=run.pk).body)
    return body


def test_an_agent_for_a_node_that_cannot_is_refused(project: Project, plain: Node) -> None:
    with pytest.raises(IsolationUnavailable, match="agenthub doctor") as refused:
        make(project, plain, isolation="masked")
    assert refused.value.code == "isolation_unavailable"
    assert not Agent.objects.filter(name="a").exists()


def test_the_run_is_sent_with_what_the_agent_demands(project: Project, able: Node) -> None:
    run = start_run(make(project, able, isolation="masked", network="none"), by=SYSTEM, prompt="hello")
    assert (sent(run)["isolation"], sent(run)["network"]) == ("masked", "none")


def test_a_project_demands_it_of_all_its_agents(project: Project, able: Node, plain: Node) -> None:
    agent = make(project, able)
    edit_project(project, by=SYSTEM, required_isolation="masked")
    agent.project.refresh_from_db()
    assert sent(start_run(agent, by=SYSTEM, prompt="hello"))["isolation"] == "masked"
    with pytest.raises(IsolationUnavailable, match="as its project or the hub demands"):
        edit_agent(agent, by=SYSTEM, node=plain)


def test_the_hub_demands_it_of_everybody(project: Project, plain: Node, settings: Settings) -> None:
    agent = make(project, plain)
    settings.CONFIG = settings.CONFIG.model_copy(update={"isolation": IsolationConfig(minimum="masked")})
    with pytest.raises(IsolationUnavailable):
        start_run(agent, by=SYSTEM, prompt="hello")
    assert not Run.objects.exists()


def test_a_level_that_is_demanded_is_not_lowered_by_an_agent(project: Project, able: Node) -> None:
    edit_project(project, by=SYSTEM, required_isolation="masked")
    assert make(project, able, isolation="none").demanded_isolation == "masked"


def test_a_run_goes_to_the_node_of_its_pool_that_can(project: Project, able: Node, plain: Node) -> None:
    Node.objects.update(pool="any")
    run = start_run(make(project, None, isolation="masked"), by=SYSTEM, prompt="hello")
    assert run.node == able


def test_a_run_that_no_node_of_its_pool_can_isolate_waits_and_says_so(project: Project, plain: Node) -> None:
    Node.objects.update(pool="any")
    run = start_run(make(project, None, isolation="masked"), by=SYSTEM, prompt="hello")
    assert (run.state, run.reason) == (State.QUEUED, "isolation_unavailable")
    assert run.message == "isolation masked is not to be had on any of 1 nodes of pool any"
    Node.objects.update(facts=ABLE)
    assert tick(timezone.now()) == 1


def test_a_queued_run_is_not_sent_to_a_node_that_lost_the_ability(project: Project, able: Node) -> None:
    able.is_cordoned = True
    able.save(update_fields=["is_cordoned"])
    run = start_run(make(project, able, isolation="masked"), by=SYSTEM, prompt="hello")
    Node.objects.update(facts=PLAIN, is_cordoned=False)
    assert tick(timezone.now()) == 0
    run.refresh_from_db()
    assert (run.state, run.reason) == (State.QUEUED, "isolation_unavailable")


def test_an_agent_without_network_is_masked(project: Project, able: Node, plain: Node) -> None:
    run = start_run(make(project, able, network="none"), by=SYSTEM, prompt="hello")
    assert (sent(run)["isolation"], sent(run)["network"]) == ("masked", "none")
    with pytest.raises(IsolationUnavailable, match="'masked' and no network") as refused:
        edit_agent(run.agent, by=SYSTEM, node=plain)
    assert refused.value.data["network"] == "none"


def test_taking_the_network_away_is_refused_where_the_node_cannot(project: Project, plain: Node) -> None:
    agent = make(project, plain)
    with pytest.raises(IsolationUnavailable):
        edit_agent(agent, by=SYSTEM, network="none")


def test_a_project_keeps_all_its_agents_from_the_network(project: Project, able: Node) -> None:
    agent = make(project, able)
    edit_project(project, by=SYSTEM, required_network="none")
    agent.project.refresh_from_db()
    run = start_run(agent, by=SYSTEM, prompt="hello")
    assert (sent(run)["isolation"], sent(run)["network"]) == ("masked", "none")
    assert AuditEvent.objects.get(name="project.edited").data["required_network"] == "none"


def test_the_hub_keeps_everybody_from_the_network(project: Project, able: Node, settings: Settings) -> None:
    settings.CONFIG = settings.CONFIG.model_copy(update={"isolation": IsolationConfig(network="none")})
    run = start_run(make(project, able), by=SYSTEM, prompt="hello")
    assert (sent(run)["isolation"], sent(run)["network"]) == ("masked", "none")


def test_what_is_demanded_of_a_queued_run_meanwhile_counts(project: Project, able: Node, plain: Node) -> None:
    Node.objects.update(is_cordoned=True, pool="any")
    run = start_run(make(project, None), by=SYSTEM, prompt="hello")
    edit_project(project, by=SYSTEM, required_network="none")
    Node.objects.filter(pk=plain.pk).update(is_cordoned=False)
    assert tick(timezone.now()) == 0
    Node.objects.update(is_cordoned=False)
    assert tick(timezone.now()) == 1
    assert (Run.objects.get(pk=run.pk).node, sent(run)["network"]) == (able, "none")


@pytest.mark.parametrize("demand", [{"required_isolation": "masked"}, {"required_network": "none"}])
def test_a_token_that_edits_projects_alone_demands_nothing(
    project: Project, alice: User, demand: dict[str, str]
) -> None:
    edits = replace(actor_of(alice), token=Held(uuid4(), frozenset({Can.EDIT_PROJECT})))
    with pytest.raises(Forbidden):
        edit_project(project, by=edits, **demand)
    edit_project(project, by=edits, name="Still mine")
