"""``/api/v1/nodes/``: what is offered to members, all that is known to root."""

from django.utils import timezone

from agenthub_site.accounts.models import Project
from nodes.models import Node
from tests.api.clients import Api, refusal
from tests.factories import make_node

NODES = "/api/v1/nodes/"


def test_members_see_state_and_runtimes(as_bob: Api, project: Project, oslo: Node, lima: Node) -> None:
    make_node("cairo", is_enabled=False)
    make_node("quito", is_enabled=False, revoked_at=timezone.now())
    nodes = {node["slug"]: node for node in as_bob.get(NODES).json()["results"]}
    assert {slug: node["state"] for slug, node in nodes.items()} == {
        "oslo": "online",
        "lima": "offline",
        "cairo": "disabled",
        "quito": "revoked",
    }
    health = [nodes[slug]["health"] for slug in ("oslo", "lima", "cairo", "quito")]
    assert health == ["online", "offline", "offline", "unauthorized"]
    assert nodes["oslo"]["runtimes"] == [{"preset": "scripted", "version": "1", "found": True, "logged_in": True}]


def test_details_are_for_root(as_bob: Api, as_root: Api, project: Project, oslo: Node) -> None:
    url = f"{NODES}{oslo.pk}/"
    assert set(as_bob.get(url).json()) == {"id", "slug", "name", "state", "health", "runtimes"}
    assert {"grpc_target", "allowed_roots", "capacity", "last_heard_at"} <= set(as_root.get(url).json())


def test_who_belongs_to_no_project_sees_no_node(as_charlie: Api, oslo: Node) -> None:
    assert as_charlie.get(NODES).json()["results"] == []
    assert refusal(as_charlie.get(f"{NODES}{oslo.pk}/")) == (404, "not_found")


def test_nodes_are_not_changed_here(as_root: Api, oslo: Node) -> None:
    assert refusal(as_root.delete(f"{NODES}{oslo.pk}/")) == (405, "method_not_allowed")
