"""F8: the link is cut 200 times during a run. It comes back by itself each time, and nothing is missing or doubled."""

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.relay import Relay
from tests.faults.deployment import free_ports
from tests.faults.followed import Followed
from tests.journeys.hub import Hub, new_hub
from tests.journeys.machine import Machine, client_of, command_of, is_online, workdir
from tests.support import eventually

pytestmark = pytest.mark.timeout(600)
CUTS = 200
SECONDS = 120.0
SCRIPT = """
import os, time
number = 0
while not os.path.exists("enough"):
    print(f"line {number}", flush=True)
    number += 1
    time.sleep(0.02)
open("printed", "w").write(str(number))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def line() -> Iterator[Relay]:
    """Between node and hub."""
    (port,) = free_ports(1)
    relay = Relay(f"http://127.0.0.1:{port}")
    yield relay
    relay.close()


@pytest.fixture
def hub(home: Path, line: Relay) -> Iterator[Hub]:
    with new_hub(home / "hub") as hub:
        told = line.address.removeprefix("http://")
        hub.home.mkdir()
        hub.up(
            AGENTHUB_INTERNAL_GRPC__LISTEN=f"127.0.0.1:{line.target[1]}",
            AGENTHUB_INTERNAL_GRPC__ADDRESSES=told,
        )
        yield hub


@pytest.fixture
def machine(hub: Hub, home: Path) -> Iterator[Machine]:
    machine = Machine(home / "far")
    machine.home.mkdir()
    machine.serve(*command_of(hub, "far"))
    eventually(lambda: is_online(hub, "far"), SECONDS)
    yield machine
    machine.close()


def stored(hub: Hub, run: str) -> list[tuple[int, str, str]]:
    with sqlite3.connect(f"file:{hub.home}/db.sqlite3?mode=ro", uri=True, timeout=20) as connection:
        query = "SELECT seq, type, payload FROM agents_runevent WHERE run_id = ? ORDER BY seq"
        return connection.execute(query, (run.replace("-", ""),)).fetchall()


def test_two_hundred_cuts_during_a_run_cost_nothing(hub: Hub, machine: Machine, line: Relay) -> None:
    work = workdir(machine)
    body = {
        "project": "demo", "name": "far", "node": "far", "runtime": "command", "workspace_mode": "use_existing",
        "workdir": str(work), "command": [sys.executable, "-c", SCRIPT],
    }  # fmt: skip
    agent = str(client_of(hub).post("/api/v1/agents/", body)["id"])
    run = Followed(hub, lambda run: stored(hub, run), agent, "Print.")
    for _ in range(CUTS):
        seen = len(run.follower.events)
        eventually(lambda seen=seen: len(run.follower.events) > seen, SECONDS)  # type: ignore[misc]
        line.cut()
        line.mend()
    (work / "enough").touch()
    events = run.ends()
    text = "".join(event["payload"]["text"] for event in events if event["type"] == "run.output")
    printed = int((work / "printed").read_text())
    assert text.splitlines() == [f"line {number}" for number in range(printed)]
