"""F1: the hub is killed with 100 live runs. They go on; after its return all are taken back, whole."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.cli.client import Client
from tests.journeys.hub import Hub, new_hub
from tests.support import eventually

RUNS = 100
UPDATES = 200


@pytest.fixture
def hub(home: Path) -> Iterator[Hub]:
    with new_hub(home) as hub:
        hub.up()
        yield hub


def rows(hub: Hub, query: str) -> list[tuple[object, ...]]:
    """From the hub's own database, read beside it."""
    with sqlite3.connect(f"file:{hub.home}/db.sqlite3?mode=ro", uri=True, timeout=20) as connection:
        return connection.execute(query).fetchall()


def states(hub: Hub) -> set[str]:
    return {str(state) for (state,) in rows(hub, "SELECT DISTINCT state FROM agents_run WHERE prompt LIKE '@events%'")}


def progress(hub: Hub) -> dict[str, int]:
    query = "SELECT id, last_seq FROM agents_run WHERE prompt LIKE '@events%'"
    return {str(run): int(str(seq)) for run, seq in rows(hub, query)}


@pytest.mark.timeout(500)
def test_a_hundred_runs_outlive_the_hub_and_lose_nothing(hub: Hub) -> None:
    client = Client.over_socket(hub.home / "hub.sock")
    for _ in range(RUNS):
        client.post("/api/v1/runs/", {"agent": "demo", "prompt": f"@events {UPDATES} rate 2"})
    eventually(lambda: states(hub) == {"running"}, 120)

    os.kill(hub.child("web"), signal.SIGKILL)
    before, killed = progress(hub), time.monotonic()
    eventually(lambda: all(seq > before[run] for run, seq in progress(hub).items()), 60)
    print(f"all {RUNS} runs taken back {time.monotonic() - killed:.1f} s after the kill, restart included")

    eventually(lambda: states(hub) == {"succeeded"}, 240)
    counted = rows(
        hub,
        "SELECT COUNT(*), MAX(seq), COUNT(DISTINCT origin_seq), MAX(origin_seq), SUM(type = 'run.plan.updated') "
        "FROM agents_runevent WHERE run_id IN (SELECT id FROM agents_run WHERE prompt LIKE '@events%') GROUP BY run_id",
    )
    assert len(counted) == RUNS
    for events, last, origins, last_origin, updates in counted:
        assert (events, origins, updates) == (last, last_origin, UPDATES)
