"""F13: the clock of the hub's machine or of a node's jumps by an hour, both ways, during runs."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.joined import NAME, SECONDS, Pair, new_pair
from tests.support import eventually

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("cc"), reason="a C compiler makes the clock that can be set"),
]
HOUR = 3600
UPDATES = 700
SOURCE = Path(__file__).with_name("clock.c")


@dataclass
class Clock:
    """Of some processes; what they do meanwhile takes the time that it takes."""

    file: Path
    library: Path

    @property
    def environ(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "CLOCK_FILE": str(self.file)}

    def jump(self, seconds: int) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_text(str(seconds))
        beside.replace(self.file)


@pytest.fixture
def clocks() -> Iterator[tuple[Clock, Clock]]:
    directory = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    library = directory / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    clocks = Clock(directory / "hub", library), Clock(directory / "node", library)
    for clock in clocks:
        clock.jump(0)
    yield clocks
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def pair(clocks: tuple[Clock, Clock]) -> Iterator[Pair]:
    with new_pair(node_environ=clocks[1].environ, **clocks[0].environ) as pair:
        yield pair


def told(clock: Clock) -> int:
    """How far a process with this clock is from this one."""
    script = "import time; print(round(time.time()))"
    shown = subprocess.run(
        ["python3", "-c", script], env={**os.environ, **clock.environ}, capture_output=True, check=True
    )
    now = subprocess.run(["python3", "-c", script], capture_output=True, check=True)
    return int(shown.stdout) - int(now.stdout)


def heard_ahead(pair: Pair) -> float:
    """By how many seconds the hub's clock was ahead of this one when it last heard the node."""
    ((heard_at,),) = pair.rows("SELECT last_heard_at FROM nodes_node WHERE slug = ?", NAME)
    return (datetime.fromisoformat(heard_at).replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()


def test_the_clock_of_these_tests_jumps(clocks: tuple[Clock, Clock]) -> None:
    clocks[0].jump(HOUR)
    assert abs(told(clocks[0]) - HOUR) < 60


def test_runs_go_on_over_jumps_of_either_clock(pair: Pair, clocks: tuple[Clock, Clock]) -> None:
    hub, node = clocks
    agent = pair.agent()
    steady = pair.follow(agent, f"@events {UPDATES} rate 8")
    asking = pair.follow(agent, "@ask shell", "--keep-open")
    steady.comes_to(5)
    eventually(lambda: pair.hub.run_of(asking.id)["reason"] == "approval", SECONDS)

    for step, (clock, seconds) in enumerate([(hub, HOUR), (hub, 0), (node, HOUR), (node, -HOUR), (node, 0)], 1):
        clock.jump(seconds)
        if clock is hub:
            eventually(lambda seconds=seconds: abs(heard_ahead(pair) - seconds) < HOUR / 4, SECONDS)  # type: ignore[misc]
        elif seconds:
            refused = pair.machine.cli("node", "rotate", "--json")
            error = json.loads(refused.stdout)["error"]
            assert error["code"] == "clock_skew" and "Synchronise" in error["message"]
        steady.comes_to(step * UPDATES // 6)  # long enough for several leases, heartbeats and looks at silent nodes
        assert pair.hub.run_of(asking.id)["state"] == "waiting"  # its ten minutes are not over

    assert not pair.audited("run.lost")
    assert pair.hub.cli("approve", asking.id, "--allow").returncode == 0
    eventually(lambda: any("allow" in text for text in asking.said()), SECONDS)
    steady.ends_whole(UPDATES)  # in the order of seq, whatever the clock said
    assert pair.hub.cli("cancel", asking.id).returncode == 0
    asking.follower.wait(SECONDS)
    assert pair.machine.cli("node", "rotate").returncode == 0
