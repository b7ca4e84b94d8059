"""F12: bytes of a spool flip on the disk while hub and node server are away. What is good arrives; the gap is said."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes.contract.record import BadFrame, frames
from nodes.server.spool import HEAD_BYTES
from tests.journeys.hub import Hub, new_hub
from tests.support import eventually

UPDATES = 300


@pytest.fixture
def hub(home: Path) -> Iterator[Hub]:
    with new_hub(home) as hub:
        hub.up()
        yield hub


def flip(spool: Path, at: int) -> None:
    with spool.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


def good_frames(spool: Path) -> int:
    count = 0
    try:
        for _ in frames(spool.read_bytes(), HEAD_BYTES):
            count += 1
    except BadFrame:
        pass
    return count


@pytest.mark.timeout(240)
def test_a_flipped_byte_costs_one_record_and_is_said(hub: Hub) -> None:
    run = hub.start_run(f"@events {UPDATES} rate 20")
    spool = hub.home / "node" / "runs" / run / "spool-1-1"
    eventually(lambda: spool.exists() and good_frames(spool) > 10, 60)

    os.kill(hub.pid, signal.SIGSTOP)  # so that nothing is restarted before the damage is done
    os.kill(hub.child("web"), signal.SIGKILL)
    os.kill(hub.child("node", "run"), signal.SIGKILL)
    before = good_frames(spool)
    size = spool.stat().st_size
    eventually(lambda: good_frames(spool) > before + 40, 60)
    flip(spool, size + 500)  # within records that no hub has seen
    os.kill(hub.pid, signal.SIGCONT)

    eventually(lambda: hub.cli("runs").returncode == 0 and hub.run_of(run)["state"] == "succeeded", 120)
    events = hub.events(run)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    gaps = [event["payload"] for event in events if event["type"] == "run.gap.found"]
    updates = [event for event in events if event["type"] == "run.plan.updated"]
    assert len(gaps) == 1
    assert UPDATES - 2 <= len(updates) < UPDATES
