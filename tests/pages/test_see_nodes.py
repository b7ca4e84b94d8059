"""The nodes page: health in words, and what can run where, with the way to get there what is missing."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agenthub_site.accounts.models import Project, User
from agenthub_site.pages.machines import Machine
from nodes.evidence import health_of
from nodes.models import Node
from tests.factories import make_agent, make_node, make_run


def runtime(preset: str, **told: Any) -> dict[str, Any]:
    return {"preset": preset, "version": "", "found": True, "logged_in": True, "detail": "", **told}


def health(node: Node, live: int = 0) -> str:
    shown = Machine(node, health_of([node], timezone.now())[node.pk], live_runs=live).health
    return f"{shown.word}: {shown.means}"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "online: It takes new runs."),
        ({"is_enabled": False}, "disabled: It gets no new runs."),
        ({"is_enabled": False, "revoked_at": timezone.now()}, "revoked: It is not let in."),
        ({"last_heard_at": None}, "never connected: It has not said hello yet."),
        ({"last_heard_at": timezone.now() - timedelta(hours=1)}, "offline: It gets no new runs; queued ones wait"),
        ({"vitals": {"disk_free": 1_000_000, "disk_total": 10**12}}, "degraded: Its disk is nearly full"),
    ],
)
def test_a_nodes_health_is_in_words(db: None, fields: dict[str, Any], words: str) -> None:
    node = make_node()
    for name, value in fields.items():
        setattr(node, name, value)
    assert health(node).startswith(words)


@pytest.mark.parametrize(
    ("fields", "live", "words"),
    [
        ({"is_cordoned": True}, 1, "cordoned: It takes no new runs"),
        ({"is_cordoned": True, "is_draining": True}, 1, "draining: It takes no new runs; those on it"),
        ({"is_cordoned": True, "is_draining": True}, 0, "drained: No run is left on it"),
    ],
)
def test_a_closed_node_says_so(db: None, fields: dict[str, Any], live: int, words: str) -> None:
    node = make_node(**fields)
    assert health(node, live).startswith(words)


def test_a_node_beyond_its_thresholds_says_by_how_much(web: Client, project: Project) -> None:
    make_node(vitals={"disk_free": 10 * 2**40, "disk_total": 100 * 2**40})
    page = web.get("/nodes/").content.decode()
    assert "degraded" in page and "Disk usage 90 % (warning)." in page


def test_root_finds_the_registry_from_agents_and_nodes(sign_in: Any, root: User, web: Client, project: Project) -> None:
    for path in ("/agents/", "/nodes/"):
        assert "/admin/nodes/node/" in sign_in(root).get(path).content.decode()
        assert "/admin/nodes/node/" not in web.get(path).content.decode()


def test_the_agent_form_offers_the_main_node_and_says_how_each_is(web: Client, project: Project, lima: Node) -> None:
    make_node("local")
    make_node("cairo", is_cordoned=True)
    page = web.get("/agents/new/").content.decode()
    assert "Execution node" in page
    assert "Main Node (local) · online" in page and "cairo · cordoned" in page and "lima · offline" in page


def test_a_full_node_says_so(web: Client, project: Project) -> None:
    make_run(agent=make_agent(project=project, node=make_node(capacity=1)))
    assert "All its places are taken" in web.get("/nodes/").content.decode()


def test_a_runtime_that_is_there_has_its_version_and_what_it_lacks(web: Client, project: Project) -> None:
    make_node(runtimes=[runtime("scripted", version="1.2"), runtime("codex", version="0.9", logged_in=False)])
    page = web.get("/nodes/").content.decode()
    assert "Scripted (demo)" in page and "1.2" in page and "ready" in page
    assert "not signed in" in page and "codex login" in page


def test_a_missing_runtime_says_how_to_install_it(web: Client, project: Project) -> None:
    make_node(runtimes=[runtime("opencode", found=False, logged_in=False, detail="not installed")])
    page = web.get("/nodes/").content.decode()
    assert "1 not installed" in page and "npm install -g opencode-ai" in page


def test_a_runtime_of_a_newer_node_is_shown_by_its_name(web: Client, project: Project) -> None:
    make_node(runtimes=[runtime("<of tomorrow>", version="9"), runtime("another", found=False)])
    page = web.get("/nodes/").content.decode()
    assert "&lt;of tomorrow&gt;" in page and "as its makers say" in page


def test_a_node_is_last_seen_when_it_was_heard(web: Client, project: Project) -> None:
    make_node("lima")
    page = web.get("/nodes/").content.decode()
    assert "Last seen" in page and "1 h ago" in page
