"""Routes: who may run where, by which entry, and what is said to those who may not."""

from dataclasses import replace
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Actor, Entry
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, Role, User
from agents.models import Agent, Run
from agents.queries import waiting_for
from agents.scheduler import tick
from agents.services.agents import create_agent, edit_agent
from agents.services.resuming import resume_run
from agents.services.runs import start_run
from agents.states import State
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden, Invalid
from nodes.contract.reasons import Reason
from nodes.models import Node, Route
from nodes.routes import RouteMissing, add_route, edit_route, remove_route, usable_nodes
from nodes.services import delete_node
from tests.factories import make_agent, make_node, make_project, make_run


@pytest.fixture(autouse=True)
def only_local(project: Project, oslo: Node) -> None:
    """As it is by default: a project has the local node."""
    Route.objects.all().delete()


@pytest.fixture
def admin(root: User) -> Actor:
    return actor_of(root)


@pytest.fixture
def people(alice: User, bob: User, root: User) -> dict[str, User]:
    return {"alice": alice, "bob": bob, "root": root}


def by(user: User, entry: str = Entry.WEB) -> Actor:
    return replace(actor_of(user), entry=entry)


def create(project: Project, user: User, **fields: Any) -> Agent:
    return create_agent(
        project, by=by(user), **{"name": "demo", "preset": "scripted", "worktree_repo": "/srv/repo", **fields}
    )


def test_an_agent_on_a_node_that_its_project_may_not_use_is_refused_with_the_missing_rule(
    project: Project, oslo: Node, alice: User, admin: Actor
) -> None:
    with pytest.raises(RouteMissing) as refused:
        create(project, alice, node=oslo)
    assert refused.value.data["command"] == "agenthub route add --project harbour --node oslo"
    assert refused.value.data["missing"]["node"] == "oslo" and "No route lets project harbour" in refused.value.text
    assert not Agent.objects.exists()
    add_route(project, by=admin, node=oslo)
    assert create(project, alice, node=oslo).node == oslo


def test_the_local_node_needs_no_route_and_gets_none(project: Project, alice: User, admin: Actor) -> None:
    local = make_node("local")
    assert create(project, alice, node=local).node == local
    with pytest.raises(Invalid):
        add_route(project, by=admin, node=local)


def test_an_agent_cannot_be_moved_to_where_its_project_may_not_go(project: Project, alice: User, oslo: Node) -> None:
    agent = create(project, alice, node=make_node("local"))
    Route.objects.all().delete()
    for elsewhere in ({"node": oslo}, {"pool": "gpu"}):
        Node.objects.filter(pk=oslo.pk).update(pool="gpu")
        with pytest.raises(RouteMissing):
            edit_agent(agent, by=by(alice), **elsewhere)
    assert edit_agent(agent, by=by(alice), model="large").model == "large"


def test_a_route_by_pool_and_labels_covers_the_nodes_that_have_them(
    project: Project, alice: User, admin: Actor
) -> None:
    add_route(project, by=admin, pool="gpu", labels={"arch": "arm64"})
    for slug, labels in (("right", {"arch": "arm64", "disk": "fast"}), ("wrong", {"arch": "x86"})):
        make_node(slug, pool="gpu", labels=labels)
    Route.objects.filter(node__isnull=False).delete()
    assert [node.slug for node in usable_nodes([project.pk])] == ["right"]


@pytest.mark.parametrize(
    "asked",
    [
        ("bob", "web", {}, True),
        ("bob", "web", {"entries": ["web", "cli"]}, True),
        ("bob", "api", {"entries": ["web", "cli"]}, False),
        ("bob", "", {"entries": ["web"]}, False),
        ("bob", "web", {"least_role": Role.DEVELOPER}, True),
        ("bob", "web", {"least_role": Role.MAINTAINER}, False),
        ("alice", "web", {"least_role": Role.MAINTAINER}, True),
        ("bob", "web", {"user": "alice"}, False),
        ("alice", "web", {"user": "alice"}, True),
        ("root", "web", {"least_role": Role.OWNER}, True),
        ("root", "web", {"user": "alice"}, True),
        ("root", "web", {"entries": ["cli"]}, False),
        ("bob", "web", {"is_enabled": False}, False),
    ],
)
def test_entry_role_and_person_are_asked_when_a_run_starts(
    agent: Agent, people: dict[str, User], asked: tuple[str, str, dict[str, Any], bool]
) -> None:
    who, entry, route, may = asked
    given = {**route, "user": people[route["user"]]} if "user" in route else route
    assert agent.node is not None
    add_route(agent.project, by=actor_of(people["root"]), node=agent.node, **given)
    if may:
        assert start_run(agent, by=by(people[who], entry), prompt="Go.").state == State.STARTING
        return
    with pytest.raises(RouteMissing) as refused:
        start_run(agent, by=by(people[who], entry), prompt="Go.")
    assert refused.value.code == "route_missing" and not Run.objects.exists()


def test_the_system_is_asked_for_the_project_alone(agent: Agent, admin: Actor) -> None:
    with pytest.raises(RouteMissing):
        start_run(agent, by=SYSTEM, prompt="Go.")
    assert agent.node is not None
    add_route(agent.project, by=admin, node=agent.node, entries=["web"], least_role=Role.OWNER)
    assert start_run(agent, by=SYSTEM, prompt="Go.").state == State.STARTING


def test_runs_of_a_pool_go_to_allowed_nodes_only_and_the_others_say_what_they_wait_for(
    project: Project, admin: Actor, bob: User, alice: User
) -> None:
    one, two = (make_node(f"gpu-{n}", pool="gpu", capacity=1) for n in (1, 2))
    Route.objects.all().delete()
    add_route(project, by=admin, node=one)
    only_alice = add_route(project, by=admin, node=two, user=alice)
    agent = Agent.objects.create(name="any", project=project, pool="gpu", preset="scripted", worktree_repo="/srv/a")
    bobs = [make_run(agent=agent, state=State.QUEUED, user=bob, entry="web") for _ in range(2)]
    hers = make_run(agent=agent, state=State.QUEUED, user=alice, entry="web")
    assert tick(timezone.now()) == 2
    where = [Run.objects.get(pk=run.pk).runs_on for run in (*bobs, hers)]
    assert where == ["node:gpu-1", "any node of pool gpu", "node:gpu-2"]
    assert waiting_for(Run.objects.get(pk=bobs[1].pk)) == "a free place: gpu-1 is full"
    remove_route(only_alice, by=admin)
    remove_route(Route.objects.get(node=one), by=admin)
    assert tick(timezone.now()) == 0
    waiting = Run.objects.get(pk=bobs[1].pk)
    assert (waiting.state, waiting.reason) == (State.QUEUED, Reason.ROUTE_MISSING)
    assert waiting_for(waiting) == "a route: none lets its project use any of 2 nodes of pool gpu"
    assert Run.objects.get(pk=hers.pk).state == State.STARTING  # what went goes on


def test_a_queued_run_goes_as_soon_as_its_route_is_there(agent: Agent, admin: Actor, bob: User) -> None:
    run = make_run(agent=agent, state=State.QUEUED, user=bob, entry="api")
    assert agent.node is not None
    route = add_route(agent.project, by=admin, node=agent.node, entries=["web"])
    assert tick(timezone.now()) == 0
    assert "by api as developer" in Run.objects.get(pk=run.pk).message
    edit_route(route, by=admin, entries=[])
    assert tick(timezone.now()) == 1


def test_one_without_a_route_holds_up_nobody_behind_it(agent: Agent, admin: Actor, bob: User, alice: User) -> None:
    make_run(agent=agent, state=State.QUEUED, user=bob, entry="web")
    behind = make_run(agent=agent, state=State.QUEUED, user=alice, entry="web")
    assert agent.node is not None
    add_route(agent.project, by=admin, node=agent.node, user=alice)
    assert tick(timezone.now()) == 1
    assert Run.objects.get(pk=behind.pk).state == State.STARTING
    assert start_run(agent, by=by(alice), prompt="Go.").state == State.STARTING


def test_a_run_is_begun_anew_as_its_author_who_has_to_have_a_route_still(agent: Agent, admin: Actor, bob: User) -> None:
    Agent.objects.filter(pk=agent.pk).update(resume=True)
    ended = make_run(agent=Agent.objects.get(pk=agent.pk), state=State.FAILED, user=bob, entry="api")
    assert resume_run(ended) is None
    assert agent.node is not None
    add_route(agent.project, by=admin, node=agent.node, entries=["api"])
    again = resume_run(ended)
    assert again is not None and (again.user, again.entry) == (bob, "api")


def test_routes_are_roots_and_every_change_is_in_the_projects_trail(
    project: Project, oslo: Node, alice: User, admin: Actor
) -> None:
    with pytest.raises(Forbidden):
        add_route(project, by=by(alice), node=oslo)
    route = add_route(project, by=admin, node=oslo)
    assert add_route(project, by=admin, node=oslo) == route  # twice is once
    edit_route(route, by=admin, note="for the team")
    remove_route(route, by=admin)
    names = AuditEvent.objects.filter(stream=f"project:{project.pk}").order_by("number").values_list("name", flat=True)
    assert list(names) == ["route.added", "route.edited", "route.removed"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "node"),
        ({"node": True, "pool": "gpu"}, "node"),
        ({"pool": "gpu", "entries": ["door"]}, "entries"),
        ({"pool": "gpu", "least_role": "king"}, "least_role"),
        ({"pool": "gpu", "least_role": "owner", "user": True}, "user"),
        ({"labels": {"": "x"}}, "labels"),
    ],
)
def test_what_does_not_fit_is_named(
    project: Project, oslo: Node, admin: Actor, fields: dict[str, Any], field: str
) -> None:
    some: dict[str, Any] = {"node": oslo, "user": User.objects.get(username="alice")}
    given = {name: some.get(name, value) for name, value in fields.items()}
    with pytest.raises(Invalid) as refused:
        add_route(project, by=admin, **given)
    assert field in refused.value.data["fields"] and not Route.objects.exists()


def test_the_database_takes_no_route_that_leads_everywhere(project: Project) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Route.objects.create(project=project)


def test_a_nodes_routes_go_with_it_so_that_the_next_of_its_name_has_none(
    project: Project, oslo: Node, admin: Actor
) -> None:
    make_run(agent=make_agent(project=project, node=oslo), state=State.SUCCEEDED)
    Agent.objects.update(archived_at=timezone.now())
    add_route(project, by=admin, node=oslo)
    delete_node(oslo, by=admin)
    assert not Route.objects.exists()


def test_another_projects_route_lets_nobody_else_in(project: Project, oslo: Node, admin: Actor, alice: User) -> None:
    other = make_project("quarry")
    Route.objects.all().delete()
    add_route(other, by=admin, node=oslo)
    with pytest.raises(RouteMissing):
        create(project, alice, node=oslo)
