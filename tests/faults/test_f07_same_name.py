"""F7: another machine comes under a node's name, with a copy of its home, or with the certificate it had before.

It is refused and audited, the node's health says so, and the node that is there goes on.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.followed import Followed
from tests.faults.tunnelled import rows, stored
from tests.journeys.hub import Hub, new_hub
from tests.journeys.machine import Machine, client_of, command_of, is_online, node_of, workdir
from tests.support import eventually

pytestmark = pytest.mark.timeout(300)
SECONDS = 90.0
UPDATES = 400


@pytest.fixture
def root() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def hub(root: Path) -> Iterator[Hub]:
    (root / "hub").mkdir()
    with new_hub(root / "hub") as hub:
        hub.up(AGENTHUB_INTERNAL_GRPC__LISTEN="127.0.0.1:0")
        yield hub


@pytest.fixture
def machines(root: Path) -> Iterator[list[Machine]]:
    """Two; the first is to be the node."""
    machines = [Machine(root / name) for name in ("first", "second")]
    yield machines
    for machine in machines:
        machine.close()


@pytest.fixture
def first(hub: Hub, machines: list[Machine]) -> Machine:
    machines[0].serve(*command_of(hub, "gpu-01"))
    eventually(lambda: is_online(hub, "gpu-01"), SECONDS)
    return machines[0]


def refusals(hub: Hub) -> list[Any]:
    found = rows(hub, "SELECT data FROM audit_auditevent WHERE name = 'node.refused'")
    return [json.loads(data).get("code") for (data,) in found]


def run_on(hub: Hub, machine: Machine) -> Followed:
    body = {
        "project": "demo", "name": "far", "node": "gpu-01", "runtime": "acp", "preset": "scripted",
        "workspace_mode": "use_existing", "workdir": str(workdir(machine)),
    }  # fmt: skip
    agent = str(client_of(hub).post("/api/v1/agents/", body)["id"])
    return Followed(hub, lambda run: stored(hub, run), agent, f"@events {UPDATES} rate 20")


def epoch(hub: Hub) -> int:
    query = "SELECT epoch FROM nodes_linklease l JOIN nodes_node n ON n.id = l.node_id WHERE n.slug = 'gpu-01'"
    return int(rows(hub, query)[0][0])


def test_a_copy_of_the_node_s_home_is_refused_while_the_node_is_there(
    hub: Hub, first: Machine, machines: list[Machine]
) -> None:
    run = run_on(hub, first)
    run.comes_to(5)
    before = epoch(hub)
    second = machines[1]
    for name in ("pki", "node"):
        shutil.copytree(first.home / name, second.home / name, ignore=shutil.ignore_patterns("runs", "*sock", "lock"))
    shutil.copy(first.home / "config.toml", second.home)
    second.serve("node", "run")
    eventually(lambda: "node_duplicate" in second.log.read_text(), SECONDS)
    node = client_of(hub).get("/api/admin/agent-nodes/gpu-01/health")
    assert node["status"] == "degraded" and "Two machines use this node's certificate" in node["reason"]
    run.ends_whole(UPDATES)
    assert refusals(hub) == ["node_duplicate"] and epoch(hub) == before
    assert "superseded" not in first.log.read_text()

    first.kill()  # what is gone is no rival: the copy may have its place, when it asks again
    second.stop()
    second.serve("node", "run")
    eventually(lambda: epoch(hub) > before and is_online(hub, "gpu-01"), SECONDS)


def test_a_node_server_that_was_killed_and_started_again_is_no_rival_of_itself(hub: Hub, first: Machine) -> None:
    run = run_on(hub, first)
    run.comes_to(5)
    first.kill()
    first.serve("node", "run")
    run.ends_whole(UPDATES)
    assert refusals(hub) == []


def test_the_certificate_of_before_a_machine_joined_anew_is_refused(
    hub: Hub, first: Machine, machines: list[Machine]
) -> None:
    second = machines[1]
    second.serve(*command_of(hub, "gpu-01"))
    eventually(lambda: "node_revoked" in first.log.read_text(), SECONDS)
    first.stop()
    first.serve("node", "run")
    eventually(lambda: len(refusals(hub)) == 1, SECONDS)
    eventually(lambda: is_online(hub, "gpu-01"), SECONDS)
    assert node_of(hub, "gpu-01")["state"] == "online"
