"""A node behind NAT, in a network namespace that its hub cannot reach: it joins over TLS, and everything works.

Then the line between them is a bad one (F8): half of all packets are lost, or all of them, silently, for a while.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agenthub_site.demo_repository import make_repository
from tests.faults.followed import Followed
from tests.faults.network import HUB, NODE, Network, inside
from tests.faults.tunnelled import stored
from tests.journeys.hub import AGENTHUB, Hub, new_hub
from tests.journeys.machine import Machine, client_of, command_of, is_online, node_of
from tests.support import eventually

pytestmark = pytest.mark.timeout(400)
SECONDS = 120.0
UPDATES = 600
LONG = f"@events {UPDATES} rate 15"
"""Forty seconds of work."""
LISTENER = "import socket, time; s = socket.create_server(('', 7777)); print('here', flush=True); time.sleep(60)"


@pytest.fixture(scope="module")
def hub(network: Network) -> Iterator[Hub]:
    home = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    with new_hub(home, (*inside(network.hub), *AGENTHUB)) as hub:
        hub.up(AGENTHUB_SERVER__LISTEN=f"{HUB}:0", AGENTHUB_INTERNAL_GRPC__LISTEN=f"{HUB}:0")
        yield hub
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def machine(network: Network, hub: Hub) -> Iterator[Machine]:
    home = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    machine = Machine(home, inside(network.node))
    machine.serve(*command_of(hub, "far"))
    try:
        eventually(lambda: is_online(hub, "far"), SECONDS)
        yield machine
    finally:
        machine.close()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def agent(hub: Hub, machine: Machine) -> str:
    repository = machine.home / "worktrees/demo/repository"
    make_repository(repository)
    body = {
        "project": "demo", "name": "far", "node": "far", "runtime": "acp", "preset": "scripted",
        "workspace_mode": "create_worktree", "worktree_repo": str(repository),
    }  # fmt: skip
    return str(client_of(hub).post("/api/v1/agents/", body)["id"])


def followed(hub: Hub, agent: str, prompt: str, *options: str) -> Followed:
    return Followed(hub, lambda run: stored(hub, run), agent, prompt, *options)


def test_the_hub_cannot_reach_the_node(network: Network, machine: Machine) -> None:
    listener = subprocess.Popen([*inside(network.node), sys.executable, "-c", LISTENER], stdout=subprocess.PIPE)
    try:
        assert listener.stdout and listener.stdout.readline() == b"here\n"
        assert network.can_connect(network.router, NODE, 7777)
        assert not network.can_connect(network.hub, NODE, 7777)
    finally:
        listener.kill()
        listener.communicate()


def test_text_comes_live_an_approval_is_answered_and_the_diff_is_there(hub: Hub, agent: str) -> None:
    run = followed(hub, agent, "Write a note")
    eventually(lambda: run.follower.has("run.approval.requested"), SECONDS)
    assert run.follower.has("run.message.delta") and hub.run_of(run.id)["state"] == "waiting"
    assert hub.cli("approve", run.id, "--allow").returncode == 0
    run.ends()
    assert "+- Write a note" in hub.cli("diff", run.id).stdout


def test_a_run_is_cancelled(hub: Hub, machine: Machine, agent: str) -> None:
    run = followed(hub, agent, "@events 100000 rate 20")
    run.comes_to(5)
    assert hub.cli("cancel", run.id).returncode == 0
    run.ends(5)
    assert hub.run_of(run.id)["state"] == "cancelled"


def test_half_of_all_packets_lost_costs_nothing_but_time(hub: Hub, agent: str, network: Network) -> None:
    run = followed(hub, agent, LONG)
    run.comes_to(20)
    with network.dropping(0.5):
        eventually(lambda: network.dropped() > 200, SECONDS)
    run.ends_whole(UPDATES)


def test_a_line_that_swallows_everything_is_noticed_and_made_anew(hub: Hub, agent: str, network: Network) -> None:
    """Half open: neither end is told. Both notice by silence, and the node dials again until it gets through."""
    run = followed(hub, agent, LONG)
    run.comes_to(20)
    seen = len(run.steps())
    with network.dropping(1):
        eventually(lambda: node_of(hub, "far")["state"] != "online", SECONDS)
        assert hub.run_of(run.id)["state"] in ("running", "waiting")
    run.comes_to(seen + 20)
    assert is_online(hub, "far")
    run.ends_whole(UPDATES)
