"""A whole hub: a run waits for a node that fits, is placed when there is one, and stopped there when the hub dies."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.journeys.hub import Hub, new_hub
from tests.support import eventually


@pytest.fixture
def hub(home: Path) -> Iterator[Hub]:
    with new_hub(home) as hub:
        hub.up()
        yield hub


def api(hub: Hub) -> httpx.Client:
    token = hub.ask("token", "create", f"t{hub.pid}")["token"]
    return httpx.Client(
        base_url=hub.told["address"], headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
    )


def make_agent(client: httpx.Client) -> None:
    demo = client.get("/api/v1/agents/").raise_for_status().json()["results"][0]
    body = {
        "project": "demo", "name": "anywhere", "pool": "gpu", "node_labels": {"arch": "arm64"}, "runtime": "command",
        "command": ["sh", "-c", "echo at work; exec sleep 600"], "workspace_mode": "use_existing",
        "workdir": demo["worktree_repo"], "lost_after_seconds": 5, "stop_after_seconds": 10,
    }  # fmt: skip
    client.post("/api/v1/agents/", json=body).raise_for_status()


def kill_all_but_the_run(hub: Hub) -> None:
    """As if the hub's machine were gone, and the node server with it: the supervisor is left to itself."""
    parent = psutil.Process(hub.pid)
    for process in [parent, *parent.children()]:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    hub.wait()


def test_a_run_waits_for_its_pool_runs_there_and_ends_there_when_the_hub_is_gone(hub: Hub) -> None:
    with api(hub) as client:
        make_agent(client)
        run: dict[str, Any] = hub.ask("run", "anywhere", "Go.")
        assert run["state"] == "queued" and run["runs_on"] == "any node of pool gpu with arch=arm64"
        assert "for a node that fits: no node is in pool gpu" in hub.cli("runs").stdout
        change = {"pool": "gpu", "labels": {"arch": "arm64"}}
        client.patch("/api/admin/agent-nodes/local", json=change).raise_for_status()
        eventually(lambda: hub.run_of(run["id"])["state"] == "running", timeout=60)
        assert hub.run_of(run["id"])["runs_on"] == "node:local"
        eventually(lambda: "at work" in hub.cli("logs", run["id"]).stdout, timeout=60)
    kill_all_but_the_run(hub)
    eventually((hub.home / "node/runs" / run["id"] / "ended").exists, timeout=90)
    hub.up()
    eventually(lambda: hub.run_of(run["id"])["state"] == "failed", timeout=60)
    ended = hub.run_of(run["id"])
    assert (ended["reason"], ended["runs_on"]) == ("disconnected", "node:local")
    assert "without its hub for 10 seconds" in ended["message"]
    assert [event["type"] for event in hub.events(run["id"])].count("run.failed") == 1
