"""F5: a node falls silent, its run finishes meanwhile, and it is back after half an hour.

No new work goes there at once, the run is lost after the grace, and its ending arrives once. The half hour is made by
ageing when the node was last heard; all else is real.
"""

import sqlite3
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.faults.tunnelled import NODE, SECONDS, Tunnelled, new_tunnelled
from tests.support import eventually

pytestmark = pytest.mark.timeout(500)
SCRIPT = """
import os, time
number = 0
while not os.path.exists("enough"):
    print(f"line {number}", flush=True)
    number += 1
    time.sleep(0.05)
open("printed", "w").write(str(number))
"""


def was_last_heard(far: Tunnelled, ago: timedelta) -> None:
    at = (datetime.now(UTC) - ago).strftime("%Y-%m-%d %H:%M:%S.%f")
    with sqlite3.connect(f"{far.hub.home}/db.sqlite3", timeout=20) as connection:
        connection.execute("UPDATE nodes_node SET last_heard_at = ? WHERE slug = ?", (at, NODE))


def test_a_run_that_finished_while_its_node_was_silent_ends_once() -> None:
    with new_tunnelled() as far:
        agent = far.agent(runtime="command", preset="", command=[sys.executable, "-c", SCRIPT])
        run = far.follow(agent, "Print.")
        eventually(lambda: run.follower.has("run.output"), SECONDS)

        far.line.cut()
        eventually(far.is_offline, SECONDS)
        later = far.follow(agent, "Print again.")
        (far.work / "enough").touch()
        eventually((far.work / "printed").exists, SECONDS)
        was_last_heard(far, timedelta(minutes=30))
        eventually(lambda: far.hub.run_of(run.id)["state"] == "lost", SECONDS)
        waiting = far.hub.run_of(later.id)
        assert (waiting["state"], waiting["reason"]) == ("queued", "node_offline")
        printed = int((far.work / "printed").read_text())

        far.line.mend()
        events = run.ends()
        text = "".join(event["payload"]["text"] for event in events if event["type"] == "run.output")
        assert text.splitlines() == [f"line {number}" for number in range(printed)]
        endings = [event["type"] for event in events if event["type"] in ("run.completed", "run.failed")]
        assert endings == ["run.completed"] and events[-1]["type"] == "run.completed"
        states = [event["payload"].get("state") for event in events if event["type"] == "run.state.changed"]
        assert "lost" in states
        later.ends()
