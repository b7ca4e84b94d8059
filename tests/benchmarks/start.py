"""From ``POST /runs`` to the agent's process: for a command and the scripted agent, at rest and during full ingest.

The process writes the time at which it began; the limit is the bare start of the same program.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.benchmarks.figures import Figure, percentiles, say
from tests.benchmarks.hub import create_agent, running_hub, start_run, wait_for_end
from tests.benchmarks.machine import spawn_ms

TIMES = 40
NOISE_RUNS = 4
NOISE = "@events 1000000 rate 0"
STAMP = ["sh", "-c", 'date +%s.%N > "$0"', "{prompt}"]


def measure(client: httpx.Client, start: Callable[[], tuple[str, Callable[[], float]]]) -> list[float]:
    """Milliseconds from just before the POST to the process's own first moment."""
    taken = []
    for _ in range(TIMES):
        began = time.time()
        run, begun = start()
        wait_for_end(client, run)
        taken.append((begun() - began) * 1000)
    return taken


def main() -> None:
    directory = Path(tempfile.mkdtemp(prefix="ahb-"))
    bare = spawn_ms(["sh", "-c", f"date +%s.%N > {directory}/bare"])
    bare_python = spawn_ms([sys.executable, "-c", "pass"])
    with running_hub() as hub, hub.client() as client:
        command = create_agent(client, "stamp", runtime="command", preset="", command=STAMP)
        stamped = f"date +%s.%N > {directory}/scripted; exec {sys.executable} -m nodes.runtimes.scripted"
        scripted = create_agent(client, "quick", command=["sh", "-c", stamped])

        def a_command() -> tuple[str, Callable[[], float]]:
            stamp = directory / str(time.time_ns())
            run = start_run(client, command, str(stamp))["id"]
            return run, lambda: float(stamp.read_text())

        def a_scripted() -> tuple[str, Callable[[], float]]:
            run = start_run(client, scripted, "@nothing")["id"]
            return run, lambda: float((directory / "scripted").read_text())

        for load in ("at rest", "during full ingest"):
            noise = []
            if load != "at rest":
                noise = [start_run(client, scripted, NOISE)["id"] for _ in range(NOISE_RUNS)]
                time.sleep(5)  # the load reaches its height
            for name, start, limit in (
                ("command", a_command, f"bare start {bare:.1f} ms"),
                ("scripted", a_scripted, f"bare Python {bare_python:.1f} ms"),
            ):
                p50, p99 = percentiles(measure(client, start))
                title = f"start: POST → process, {name}, {load}"
                say(Figure(f"{title}, p50", f"{p50:.0f} ms", limit, "80 ms", p50 <= 80))
                say(Figure(f"{title}, p99", f"{p99:.0f} ms", limit, "300 ms", p99 <= 300))
            for run in noise:
                client.post(f"/api/v1/runs/{run}/cancel/")


if __name__ == "__main__":
    os.environ.setdefault("AGENTHUB_ADMIN_PASSWORD", "benchmarks only 1")
    main()
