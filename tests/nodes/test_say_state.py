"""How a node is has one answer, whoever asks: what operators decided, where that is the stronger, else its status."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agenthub_site.accounts.models import Project
from agents.services.placing import view_nodes
from nodes.health import Evidence, NodeState, Trouble, closed_by, judge
from nodes.models import Node
from tests.factories import make_node, make_root

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
HEARD: dict[str, Any] = {"heard_at": NOW - timedelta(seconds=1)}
STALE: dict[str, Any] = {"heard_at": NOW - timedelta(seconds=13)}
AWAY: dict[str, Any] = {"heard_at": NOW - timedelta(minutes=1)}
REFUSED: dict[str, Any] = {**HEARD, "trouble": Trouble("link_refused", "Refused.", NOW)}
SLOW: dict[str, Any] = {**HEARD, "latency_ms": 900.0}


@pytest.mark.parametrize(
    ("decided", "known", "state", "status", "is_closed"),
    [
        (None, HEARD, "online", "online", False),
        (None, SLOW, "degraded", "degraded", False),
        (None, STALE, "stale", "stale", False),
        (None, AWAY, "offline", "offline", True),
        (None, REFUSED, "unauthorized", "unauthorized", True),
        (None, {}, "unknown", "unknown", True),
        (NodeState.CORDONED, HEARD, "cordoned", "online", True),
        (NodeState.CORDONED, SLOW, "cordoned", "degraded", True),
        (NodeState.DRAINING, STALE, "draining", "stale", True),
        (NodeState.DRAINING, AWAY, "offline", "offline", True),
        (NodeState.CORDONED, REFUSED, "unauthorized", "unauthorized", True),
        (NodeState.DISABLED, HEARD, "disabled", "offline", True),
        (NodeState.DISABLED, REFUSED, "disabled", "offline", True),
        (NodeState.DISABLED, {}, "disabled", "offline", True),
        (NodeState.REVOKED, HEARD, "revoked", "unauthorized", True),
        (NodeState.REVOKED, AWAY, "revoked", "unauthorized", True),
    ],
)
def test_what_was_decided_and_what_is_heard_make_one_state(
    decided: NodeState | None, known: dict[str, Any], state: str, status: str, is_closed: bool
) -> None:
    evidence = Evidence(decided=decided, **known)
    health = judge(evidence, NOW)
    assert (health.state, health.status) == (state, status)
    assert closed_by(evidence, NOW) == (health.state if is_closed else None)


def test_whether_a_node_is_heard_is_told_apart_from_what_was_decided() -> None:
    assert judge(Evidence(decided=NodeState.DISABLED, **HEARD), NOW).is_heard
    assert not judge(Evidence(**AWAY), NOW).is_heard


@pytest.mark.parametrize(
    ("fields", "state", "health"),
    [
        ({}, "online", "online"),
        ({"is_cordoned": True}, "cordoned", "online"),
        ({"is_cordoned": True, "is_draining": True}, "draining", "online"),
        ({"is_enabled": False}, "disabled", "offline"),
        ({"is_enabled": False, "revoked_at": timezone.now()}, "revoked", "unauthorized"),
        ({"heard": timezone.now() - timedelta(hours=1)}, "offline", "offline"),
        ({"heard": timezone.now() - timedelta(hours=1), "is_cordoned": True}, "offline", "offline"),
        ({"vitals": {"disk_free": 2**40, "disk_total": 2**44}}, "degraded", "degraded"),
    ],
)
def test_every_door_says_the_same(project: Project, fields: dict[str, Any], state: str, health: str) -> None:
    node = make_node("gpu", **fields)
    root = Client(SERVER_NAME="localhost")
    root.force_login(make_root())
    for shown in (
        root.get("/api/v1/nodes/").json()["results"][0],
        root.get(f"/api/v1/nodes/{node.pk}/").json(),
        root.get("/api/admin/agent-nodes/gpu").json(),
        root.get("/api/admin/agent-nodes").json()["results"][0],
    ):
        assert (shown["state"], shown["health"]) == (state, health)
    said = root.get("/api/admin/agent-nodes/gpu/health").json()
    assert (said["state"], said["status"]) == (state, health)
    for page in ("/admin/nodes/node/", "/nodes/", f"/nodes/{node.pk}/"):
        text = root.get(page).content.decode()
        assert (">drained<" if state == "draining" and "admin" not in page else f">{state}<") in "".join(text.split())
    offered = root.get("/agents/new/").content.decode()
    assert (f"gpu · {state}" in offered) == node.is_enabled
    (view,) = view_nodes(timezone.now())
    assert view.closed == (None if state in ("online", "degraded") else state)


def test_a_refused_node_gets_no_runs_though_it_was_heard_a_moment_ago(db: None) -> None:
    now = timezone.now()
    trouble = {"code": "node_mismatch", "cause": "", "text": "Another.", "at": (now + timedelta(seconds=1)).isoformat()}
    make_node("gpu", measured={"trouble": trouble})
    assert [view.closed for view in view_nodes(now)] == [NodeState.MISMATCH]
    Node.objects.update(last_heard_at=now + timedelta(seconds=2))
    assert [view.closed for view in view_nodes(now)] == [None]
