"""F8: the link is cut 200 times during a run. It comes back by itself each time, and nothing is missing or doubled."""

import sys

import pytest

from tests.faults.tunnelled import SECONDS, new_tunnelled
from tests.support import eventually

pytestmark = pytest.mark.timeout(600)
CUTS = 200
SCRIPT = """
import os, time
number = 0
while not os.path.exists("enough"):
    print(f"line {number}", flush=True)
    number += 1
    time.sleep(0.02)
open("printed", "w").write(str(number))
"""


def test_two_hundred_cuts_during_a_run_cost_nothing() -> None:
    with new_tunnelled() as far:
        agent = far.agent(runtime="command", preset="", command=[sys.executable, "-c", SCRIPT])
        run = far.follow(agent, "Print.")
        for _ in range(CUTS):
            seen = len(run.follower.events)
            eventually(lambda seen=seen: len(run.follower.events) > seen, SECONDS)  # type: ignore[misc]
            far.line.cut()
            far.line.mend()
        (far.work / "enough").touch()
        events = run.ends()
        text = "".join(event["payload"]["text"] for event in events if event["type"] == "run.output")
        printed = int((far.work / "printed").read_text())
        assert text.splitlines() == [f"line {number}" for number in range(printed)]
