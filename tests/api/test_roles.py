"""Who may do what at each REST door: one table, every route in it."""

from dataclasses import dataclass
from typing import Any

import pytest

from agenthub_site.accounts.models import Role, User
from agenthub_site.api import router
from agents.models import Agent, Approval, Blob, Run
from agents.states import State
from tests.api.clients import Api
from tests.factories import make_agent, make_approval, make_project, make_root, make_run, make_user

ROLES = [Role.VIEWER, Role.REVIEWER, Role.DEVELOPER, Role.MAINTAINER, Role.OWNER]
"""From the least to the most: each may all that the one before may."""
ROOT, ANYBODY = "root", "anybody"


@dataclass(frozen=True)
class Door:
    """An action of the REST door, with the least role that it opens to."""

    action: str
    method: str
    path: str
    least: str
    body: Any = None
    status: int = 200


DIGEST = "d" * 64
NEW_AGENT = {"project": "harbour", "name": "new", "node": "oslo", "preset": "scripted", "worktree_repo": "/srv/quay"}
DOORS = [
    Door("agent.list", "get", "agents/", ANYBODY),
    Door("agent.create", "post", "agents/", Role.MAINTAINER, NEW_AGENT, 201),
    Door("agent.retrieve", "get", "agents/{agent}/", Role.VIEWER),
    Door("agent.partial_update", "patch", "agents/{agent}/", Role.MAINTAINER, {"description": "Mends nets."}),
    Door("agent.destroy", "delete", "agents/{agent}/", Role.MAINTAINER, status=204),
    Door("approval.list", "get", "approvals/", ANYBODY),
    Door("approval.retrieve", "get", "approvals/{approval}/", Role.VIEWER),
    Door("me.list", "get", "me/", ANYBODY),
    Door("node.list", "get", "nodes/", ANYBODY),
    Door("node.retrieve", "get", "nodes/{node}/", Role.VIEWER),
    Door("project.list", "get", "projects/", ANYBODY),
    Door("project.create", "post", "projects/", ROOT, {"slug": "pier", "name": "Pier"}, 201),
    Door("project.retrieve", "get", "projects/{project}/", Role.VIEWER),
    Door("project.partial_update", "patch", "projects/{project}/", Role.MAINTAINER, {"name": "East"}),
    Door("project.members", "get", "projects/{project}/members/", Role.VIEWER),
    Door(
        "project.add_member", "post", "projects/{project}/members/", Role.OWNER, {"user": "ed", "role": "viewer"}, 201
    ),
    Door("project.remove_member", "delete", "projects/{project}/members/{bob}/", Role.OWNER, status=204),
    Door("run.list", "get", "runs/", ANYBODY),
    Door("run.create", "post", "runs/", Role.DEVELOPER, {"agent": "harbour/demo", "prompt": "Go."}, 201),
    Door("run.retrieve", "get", "runs/{run}/", Role.VIEWER),
    Door("run.cancel", "post", "runs/{run}/cancel/", Role.DEVELOPER),
    Door("run.input", "post", "runs/{run}/input/", Role.DEVELOPER, {"text": "More."}),
    Door("run.diff", "get", "runs/{run}/diff/", Role.VIEWER),
    Door("run.artifacts", "get", "runs/{run}/artifacts/", Role.VIEWER),
    Door("run.artifact", "get", f"runs/{{run}}/artifacts/{DIGEST}/", Role.VIEWER),
    Door("run.decide", "post", "runs/{run}/approvals/{approval}/decide/", Role.REVIEWER, {"option_id": "yes"}),
    Door("token.list", "get", "tokens/", ANYBODY),
    Door("token.create", "post", "tokens/", ANYBODY, {"name": "ci"}, 201),
    Door("token.retrieve", "get", "tokens/{token}/", ANYBODY),
    Door("token.destroy", "delete", "tokens/{token}/", ANYBODY, status=204),
]
FOR_MEMBERS = [door for door in DOORS if door.least not in (ANYBODY, ROOT)]


@pytest.fixture
def approval(bob: User) -> Approval:
    make_user("ed")
    agent = make_agent(project=make_project(bob=Role.DEVELOPER), worktree_repo="/srv/quay")
    run = make_run(agent=agent, state=State.WAITING)
    Blob.objects.create(run=run, digest=DIGEST, size=2, data=b"hi")
    return make_approval(run)


def knock(door: Door, approval: Approval, user: User | None) -> int:
    """The status that the person gets."""
    run: Run = approval.run
    agent: Agent = run.agent
    api = Api(user)
    token = user.tokens.values_list("pk", flat=True).first() if user else approval.pk
    ids = {
        "agent": agent.pk, "approval": approval.pk, "bob": make_user("bob").pk, "node": agent.node_id,
        "project": agent.project_id, "run": run.pk, "token": token,
    }  # fmt: skip
    response = getattr(api, door.method)(f"/api/v1/{door.path.format(**ids)}", door.body)
    return int(response.status_code)


def test_every_route_is_in_the_table() -> None:
    callbacks: list[Any] = [pattern.callback for pattern in router.urls]
    routes = {f"{door.initkwargs['basename']}.{action}" for door in callbacks for action in door.actions.values()}
    assert routes == {door.action for door in DOORS}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("door", FOR_MEMBERS, ids=lambda door: door.action)
def test_a_door_opens_to_its_role_and_those_above(door: Door, role: Role, approval: Approval) -> None:
    make_project(dora=role)
    is_open = ROLES.index(role) >= ROLES.index(Role(door.least))
    assert knock(door, approval, make_user("dora")) == (door.status if is_open else 403)


@pytest.mark.parametrize("door", FOR_MEMBERS, ids=lambda door: door.action)
def test_to_an_outsider_nothing_is_there(door: Door, approval: Approval) -> None:
    assert knock(door, approval, make_user("charlie")) == 404


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.action)
def test_to_root_every_door_is_open(door: Door, approval: Approval) -> None:
    assert knock(door, approval, make_root()) == door.status


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.action)
def test_nobody_must_sign_in_first(door: Door, approval: Approval) -> None:
    assert knock(door, approval, None) == 401


@pytest.mark.parametrize(
    "door", [door for door in DOORS if door.least in (ANYBODY, ROOT)], ids=lambda door: door.action
)
def test_other_doors_are_for_anybody_or_for_root(door: Door, approval: Approval) -> None:
    assert knock(door, approval, make_user("charlie")) == (door.status if door.least == ANYBODY else 403)
