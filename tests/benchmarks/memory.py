"""Memory of what is idle (hub, node server, spawner, one supervisor), and what 100 runs leave behind."""

import os
import time

import psutil

from tests.benchmarks.figures import Figure, say
from tests.benchmarks.hub import create_agent, running_hub, start_run, wait_for_end

RUNS = 100
MB = 1_000_000


def main() -> None:
    with running_hub() as hub, hub.client() as client:
        agent = create_agent(client, "many", preset="scripted")
        waiting = start_run(client, agent, "@delay 600")["id"]
        time.sleep(5)  # everything has come to rest
        _tell("memory: hub, idle", hub.part("web"), 400)
        _tell("memory: node server, idle", hub.part("node", "run"), 80)
        supervisor = next(p for p in _supervisors() if p.status() != psutil.STATUS_ZOMBIE)
        _tell("memory: a supervisor", supervisor, 35)
        client.post(f"/api/v1/runs/{waiting}/cancel/").raise_for_status()
        wait_for_end(client, waiting)
        began = time.perf_counter()
        runs = [start_run(client, agent, "@say 20")["id"] for _ in range(RUNS)]
        ended = [wait_for_end(client, run, 300)["state"] for run in runs]
        assert ended == ["succeeded"] * RUNS, f"not all succeeded: {set(ended)}"
        say(Figure("100 runs of the scripted agent at once", f"{time.perf_counter() - began:.1f} s"))
        time.sleep(2)  # what is on its way out is out
        left = sum(run in runs for run in _marked())
        say(Figure("processes left after 100 runs", str(left), aim="0", is_met=left == 0))


def _tell(name: str, process: psutil.Process, aim: int) -> None:
    """The proportional share counts what forked processes share once; the resident size counts it in each."""
    memory = process.memory_full_info()
    own = memory.pss / MB
    say(Figure(name, f"{own:.0f} MB", f"resident {memory.rss / MB:.0f} MB", f"{aim} MB", own <= aim))


def _supervisors() -> list[psutil.Process]:
    """Children of this user's spawner."""
    return [child for process in psutil.process_iter() if _is_spawner(process) for child in process.children()]


def _is_spawner(process: psutil.Process) -> bool:
    try:
        return "nodes.server.spawner" in process.cmdline()
    except psutil.Error:
        return False


def _marked() -> list[str]:
    """The run ids that living processes carry as their marker."""
    found = []
    for process in psutil.process_iter():
        try:
            found.append(process.environ().get("AGENTHUB_RUN_ID", ""))
        except psutil.Error:
            continue
    return found


if __name__ == "__main__":
    os.environ.setdefault("AGENTHUB_ADMIN_PASSWORD", "benchmarks only 1")
    main()
