"""The registry's services: what fits, who may, what is said in the trail, and what becomes of runs."""

from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Actor
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents.models import Agent, Run
from agents.scheduler import tick
from agents.services.agents import archive_agent
from agents.services.runs import start_run
from agents.states import State
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden, Invalid, WrongState
from nodes.contract.reasons import Reason
from nodes.leases import LeaseLost, claim_lease, require_lease
from nodes.models import Node
from nodes.queries import visible_nodes
from nodes.routes import add_route
from nodes.services import (
    DirectionJoined,
    NodeExists,
    NodeInUse,
    cordon_node,
    delete_node,
    drain_node,
    edit_node,
    register_node,
    uncordon_node,
)
from tests.factories import make_node, make_project, make_run, node_of

TARGET = "https://node1.internal:50051"


@pytest.fixture
def by_root(root: User) -> Actor:
    return actor_of(root)


def register(by: Actor = SYSTEM, slug: str = "gpu-01", **fields: Any) -> Node:
    return register_node(by=by, slug=slug, name="GPU 01", **{"grpc_target": TARGET, **fields})


def names() -> list[str]:
    return list(AuditEvent.objects.filter(stream="instance").order_by("id").values_list("name", flat=True))


def wrong(**fields: Any) -> set[str]:
    with pytest.raises(Invalid) as refused:
        register(**fields)
    return set(refused.value.data["fields"])


def test_a_registered_node_is_in_the_trail_with_who_did_it(by_root: Actor) -> None:
    node = register(by_root, pool="gpu", labels={"gpu": "h100"})
    told = AuditEvent.objects.get(name="node.registered")
    assert (told.actor_label, told.node, told.data["slug"]) == ("root", node.pk, "gpu-01")


@pytest.mark.parametrize("slug", ["a", "node-gpu.01_x:y", "N" * 128])
def test_an_id_may_be(db: None, slug: str) -> None:
    assert register(slug=slug).slug == slug


@pytest.mark.parametrize("slug", ["", "main", "local", "a b", "a/b", "ä", "n" * 129, "a\n", ".", ".."])
def test_an_id_may_not_be(db: None, slug: str) -> None:
    assert wrong(slug=slug) == {"id"}


@pytest.mark.parametrize(
    "target",
    [
        "", "node1:50051", "http://node1:50051", "https://node1", "https://:50051", "https://node1:50051/path",
        "https://me:secret@node1:50051", "https://node1:99999", "https://node1:x", "https://[::1:50051",
        "https://no de:1",
    ],
)  # fmt: skip
def test_a_target_to_dial_may_not_be(db: None, target: str) -> None:
    assert wrong(grpc_target=target) == {"grpc_target"}


@pytest.mark.parametrize("target", [TARGET, "https://10.0.0.7:50051", "https://[fd00::7]:443"])
def test_a_target_to_dial_may_be(db: None, target: str) -> None:
    assert register(grpc_target=target).grpc_target == target


@pytest.mark.parametrize("name", ["https://gpu01.internal", "-gpu01", "gpu01.", "gpu 01", "gpu01/x", "gpü01"])
def test_a_server_name_that_no_certificate_has_is_refused(db: None, name: str) -> None:
    assert wrong(tls_server_name=name) == {"tls_server_name"}


@pytest.mark.parametrize("name", ["", "gpu01.internal", "gpu_01", "10.0.0.5", "fd00::7", "x"])
def test_a_server_name_is_a_hosts(db: None, name: str) -> None:
    assert register(tls_server_name=name).tls_server_name == name


def test_a_node_that_dials_in_has_no_target(db: None) -> None:
    assert wrong(direction="tunnel") == {"grpc_target"}
    assert register(direction="tunnel", grpc_target="").grpc_target == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": ["gpu"]}, {"labels": {"gpu": 1}}, {"labels": {"": "x"}}, {"pool": "a b"}, {"capacity": -1},
        {"default_worktree_root": "worktrees"}, {"direction": "both"},
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_named(db: None, fields: dict[str, Any]) -> None:
    assert wrong(**fields) == set(fields)


def test_an_id_is_registered_once(db: None) -> None:
    register()
    with pytest.raises(NodeExists):
        register()


def test_the_registry_is_roots_alone(alice: User, oslo: Node) -> None:
    by = actor_of(alice)
    with pytest.raises(Forbidden):
        register(by)
    for change in (edit_node, delete_node, cordon_node, uncordon_node, drain_node):
        with pytest.raises(Forbidden):
            change(oslo, by=by)
    assert names() == []


def test_an_edit_tells_what_it_changed_and_nothing_if_it_changed_nothing(by_root: Actor) -> None:
    node = register()
    edit_node(node, by=by_root, name="GPU 01", capacity=100)
    assert names() == ["node.registered"]
    edit_node(node, by=by_root, name="GPU 1", capacity=7)
    told = AuditEvent.objects.get(name="node.edited").data
    assert told["changed"] == ["capacity", "name"]
    assert (told["before"], told["after"]) == ({"capacity": 100, "name": "GPU 01"}, {"capacity": 7, "name": "GPU 1"})


@pytest.mark.parametrize(
    "changes",
    [{"grpc_target": "https://node2.internal:50051"}, {"tls_server_name": "node2"}, {"direction": "tunnel"}],
    ids=str,
)
def test_a_link_ends_when_the_way_to_its_node_changes(by_root: Actor, changes: dict[str, str]) -> None:
    node = register()
    lease = claim_lease(node.pk, "hub-a")
    assert lease
    edit_node(node, by=by_root, name="GPU 1", capacity=7)
    with transaction.atomic():
        require_lease(lease)
    edit_node(node, by=by_root, **changes)
    with pytest.raises(LeaseLost), transaction.atomic():
        require_lease(lease)
    assert claim_lease(node.pk, "hub-a")


def test_a_node_that_is_to_dial_in_loses_its_target_and_needs_one_to_go_back(by_root: Actor) -> None:
    node = edit_node(register(), by=by_root, direction="tunnel")
    assert node.grpc_target == ""
    with pytest.raises(Invalid):
        edit_node(node, by=by_root, direction="dial")
    assert edit_node(node, by=by_root, direction="dial", grpc_target=TARGET).grpc_target == TARGET


def test_a_node_that_has_joined_is_not_turned_round_by_an_edit(by_root: Actor) -> None:
    node = make_node("gpu-01", direction="tunnel", is_joined=True)
    with pytest.raises(DirectionJoined):
        edit_node(node, by=by_root, direction="dial", grpc_target=TARGET)
    node.refresh_from_db()
    assert (node.direction, node.grpc_target, names()) == ("tunnel", "", [])
    assert edit_node(node, by=by_root, direction="tunnel", pool="gpu").pool == "gpu"


def test_the_local_node_keeps_its_way_and_is_not_deleted(by_root: Actor) -> None:
    local = make_node("local")
    assert edit_node(local, by=by_root, name="This machine").name == "This machine"
    for change in ({"grpc_target": TARGET}, {"default_worktree_root": "/data"}):
        with pytest.raises(Invalid):
            edit_node(local, by=by_root, **change)
    with pytest.raises(WrongState):
        delete_node(local, by=by_root)


def test_a_cordoned_node_takes_no_new_runs_and_keeps_the_others(run: Run, agent: Agent, by_root: Actor) -> None:
    cordon_node(node_of(agent), by=by_root)
    waiting = start_run(agent, by=SYSTEM, prompt="Go.")
    assert (waiting.state, waiting.reason) == (State.QUEUED, Reason.NODE_CORDONED)
    assert tick(timezone.now()) == 0
    run.refresh_from_db()
    assert run.state == State.RUNNING
    uncordon_node(node_of(agent), by=by_root)
    assert tick(timezone.now()) == 1
    waiting.refresh_from_db()
    assert waiting.state == State.STARTING


def test_a_queued_run_says_that_its_node_was_cordoned(agent: Agent, by_root: Actor) -> None:
    queued = make_run(agent=agent, state=State.QUEUED)
    cordon_node(node_of(agent), by=by_root)
    tick(timezone.now())
    queued.refresh_from_db()
    assert queued.reason == Reason.NODE_CORDONED


def test_cordon_and_drain_are_told_once(oslo: Node, by_root: Actor) -> None:
    for change in (cordon_node, cordon_node, drain_node, drain_node, uncordon_node, uncordon_node):
        change(oslo, by=by_root)
    assert names() == ["node.cordoned", "node.draining", "node.uncordoned"]


def test_a_node_with_agents_is_not_deleted_and_names_them(agent: Agent, by_root: Actor) -> None:
    with pytest.raises(NodeInUse) as refused:
        delete_node(node_of(agent), by=by_root)
    assert refused.value.data["agents"] == [{"id": str(agent.pk), "name": "demo", "project": "harbour"}]


def test_an_agent_put_away_still_counts_while_its_run_lasts(run: Run, by_root: Actor) -> None:
    archive_agent(run.agent, by=SYSTEM)
    with pytest.raises(NodeInUse):
        delete_node(node_of(run), by=by_root)


def test_an_unused_node_is_deleted(by_root: Actor) -> None:
    delete_node(register(), by=by_root)
    assert not Node.objects.exists() and names() == ["node.registered", "node.deleted"]


@pytest.mark.parametrize("has_past", [False, True])
def test_each_project_is_told_that_its_route_went_with_the_node(agent: Agent, by_root: Actor, has_past: bool) -> None:
    node, other = node_of(agent), make_project("pier")
    run = make_run(agent=agent, state=State.SUCCEEDED)
    archive_agent(agent, by=SYSTEM)
    if not has_past:
        run.delete()
        agent.delete()
    routes = {add_route(project, by=SYSTEM, node=node).pk: project.pk for project in (agent.project, other)}
    delete_node(node, by=by_root)
    told = AuditEvent.objects.filter(name="route.removed")
    assert {UUID(event.object_id): event.project for event in told} == routes
    assert {(event.actor_label, event.node, event.data["leads_to"]) for event in told} == {
        ("root", node.pk, "node:oslo")
    }


def test_a_node_of_the_past_is_kept_for_its_runs_and_out_of_sight(agent: Agent, by_root: Actor) -> None:
    run = make_run(agent=agent, state=State.SUCCEEDED)
    archive_agent(agent, by=SYSTEM)
    generation = node_of(run).generation
    delete_node(node_of(run), by=by_root)
    node_of(run).refresh_from_db()
    assert not node_of(run).is_enabled and node_of(run).generation == generation + 1
    assert not visible_nodes(by_root).exists()
    assert register(slug="oslo").pk != run.node_id
