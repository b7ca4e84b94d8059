"""From the supervisor's record to the subscriber's socket: 1,000 events/s over 20 runs, 20 subscribers.

Scripted agents write plan updates of about 300 bytes (not coalesced, as text would be); each
record bears the supervisor's clock, and all processes are on this machine. The limit is the
machine's own: one durable 4 KiB write, since every batch waits for at least one.
"""

import asyncio
import os
import tempfile
import time
from datetime import datetime

import psutil
import websockets

from tests.benchmarks.figures import Figure, percentiles, say
from tests.benchmarks.hub import Hub, create_agent, running_hub, start_run
from tests.benchmarks.machine import durable_write_ms

RUNS = 20
RATE = 50
SECONDS = 20


async def follow(hub: Hub, run: str, latencies: list[float]) -> int:
    """Read a run's socket to its end, noting each plan update's age on arrival; how many there were."""
    import json

    seen = 0
    url = f"{hub.socket_address}/ws/runs/{run}/?after=0"
    async with websockets.connect(url, additional_headers=hub.headers, max_size=None) as socket:
        async for text in socket:
            arrived = time.time()
            for event in json.loads(text).get("events", ()):
                if event["type"] == "run.plan.updated":
                    seen += 1
                    latencies.append((arrived - datetime.fromisoformat(event["occurred_at"]).timestamp()) * 1000)
    return seen


async def measure(hub: Hub) -> tuple[list[float], int, dict[str, float], float]:
    """Latencies in ms, events seen, CPU seconds by part, and the seconds it took."""
    with hub.client() as client:
        agent = create_agent(client, "live", preset="scripted")
        prompt = f"@delay 3 @events {RATE * SECONDS} rate {RATE}"
        runs = [start_run(client, agent, prompt)["id"] for _ in range(RUNS)]
    parts = {"hub": hub.part("web"), "node server": hub.part("node", "run")}
    spawner = parts["node server"].children()[0]
    before = {name: _cpu(process) for name, process in parts.items()}
    before["supervisors and agents"] = _children_cpu(spawner)
    began = time.monotonic()
    latencies: list[float] = []
    seen = sum(await asyncio.gather(*(follow(hub, run, latencies) for run in runs)))
    seconds = time.monotonic() - began
    cpu = {name: _cpu(process) - before[name] for name, process in parts.items()}
    time.sleep(3)  # the last supervisor has been reaped
    cpu["supervisors and agents"] = _children_cpu(spawner) - before["supervisors and agents"]
    return latencies, seen, cpu, seconds


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _children_cpu(process: psutil.Process) -> float:
    """CPU seconds of the children it has reaped, and of theirs."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def main() -> None:
    limit = durable_write_ms(tempfile.gettempdir())
    with running_hub() as hub:
        latencies, seen, cpu, seconds = asyncio.run(measure(hub))
    expected = RUNS * RATE * SECONDS
    assert seen == expected, f"{seen} events arrived, {expected} were written"
    p50, p99 = percentiles(latencies)
    name = "live: record → socket, 1,000 events/s, 20 runs"
    bare = f"one durable write {limit:.1f} ms"
    say(Figure(f"{name}, p50", f"{p50:.1f} ms", bare, "10 ms", p50 <= 10))
    say(Figure(f"{name}, p99", f"{p99:.1f} ms", bare, "50 ms", p99 <= 50))
    say(Figure("  rate", f"{seen / seconds:,.0f} events/s"))
    for part, used in cpu.items():
        say(Figure(f"  CPU per event, {part}", f"{used / seen * 1e6:.0f} µs"))


if __name__ == "__main__":
    os.environ.setdefault("AGENTHUB_ADMIN_PASSWORD", "benchmarks only 1")
    main()
