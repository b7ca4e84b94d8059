"""A whole hub: a run waits for a node that fits, is placed when there is one, and stopped there when the hub dies."""

import json
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


def make_agent(client: httpx.Client, name: str, **fields: object) -> None:
    demo = client.get("/api/v1/agents/").raise_for_status().json()["results"][0]
    body = {
        "project": "demo", "name": name, "runtime": "command", "workspace_mode": "use_existing",
        "command": ["sh", "-c", "echo at work; exec sleep 600"], "workdir": demo["worktree_repo"],
    }  # fmt: skip
    client.post("/api/v1/agents/", json={**body, **fields}).raise_for_status()


def kill_all_but_the_run(hub: Hub) -> None:
    """As if the hub's machine were gone, and the node server with it: the supervisor is left to itself."""
    for process in hub.processes():
        with suppress(psutil.Error):
            if "agenthub_site.main" in process.cmdline():
                process.kill()
    hub.wait()


def test_a_run_waits_for_its_pool_runs_there_and_ends_there_when_the_hub_is_gone(hub: Hub) -> None:
    with api(hub) as client:
        policy = {"lost_after_seconds": 5, "stop_after_seconds": 10}
        make_agent(client, "anywhere", pool="gpu", node_labels={"arch": "arm64"}, **policy)
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


def test_a_run_whose_supervisor_was_killed_begins_anew_once_where_its_agent_asks_for_it(hub: Hub) -> None:
    with api(hub) as client:
        make_agent(client, "steadfast", node="local", resume=True)
    first = hub.ask("run", "steadfast", "Go.")["id"]
    eventually(lambda: hub.run_of(first)["state"] == "running", timeout=60)
    kill_supervisor(hub, first)
    eventually(lambda: hub.run_of(first)["reason"] == "supervisor_lost", timeout=60)
    (second,) = (run["id"] for run in hub.ask("runs") if run["resumes"] == first)
    eventually(lambda: hub.run_of(second)["state"] == "running", timeout=60)
    kill_supervisor(hub, second)
    eventually(lambda: hub.run_of(second)["state"] == "failed", timeout=60)
    assert not [run for run in hub.ask("runs") if run["resumes"] == second]


def kill_supervisor(hub: Hub, run: str) -> None:
    signed = json.loads((hub.home / "node/runs" / run / "lock").read_text())
    os.kill(signed["pid"], signal.SIGKILL)
