"""F3: a run's supervisor is killed. Its processes are ended, its tail is delivered, and the run says what happened."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.small_host import marked
from tests.journeys.hub import Hub, new_hub
from tests.support import eventually


@pytest.fixture
def hub(home: Path) -> Iterator[Hub]:
    with new_hub(home) as hub:
        hub.up()
        yield hub


@pytest.mark.timeout(180)
def test_a_run_whose_supervisor_is_killed_ends_and_leaves_nothing(hub: Hub) -> None:
    run = hub.start_run("@say all aboard. @fork @delay 600")
    eventually(lambda: any("aboard" in str(event["payload"]) for event in hub.events(run)), 60)
    eventually(lambda: len(marked(f"AGENTHUB_RUN_ID={run}")) >= 2)

    holder = json.loads((hub.home / "node" / "runs" / run / "lock").read_text())
    os.kill(holder["pid"], signal.SIGKILL)

    eventually(lambda: hub.run_of(run)["state"] == "failed", 60)
    assert hub.run_of(run)["reason"] == "supervisor_lost"
    events = hub.events(run)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "run.failed"
    assert "aboard" in "".join(event["payload"].get("text", "") for event in events)
    eventually(lambda: not marked(f"AGENTHUB_RUN_ID={run}"), 30)
