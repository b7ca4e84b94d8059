"""F2: the node server is killed; agents go on under their supervisors, and the new node server takes them back."""

import asyncio
import sys
from functools import partial
from pathlib import Path

from nodes.contract.ids import new_id
from tests.node.conftest import hub, idle_node, node, prepared  # noqa: F401
from tests.node.hub import SmallHub
from tests.node.parts import NodeProcess, start_of
from tests.support import eventually_async

RUNS = 5
KILLS = 4
SCRIPT = """
import os, time
run = os.environ["AGENTHUB_RUN_ID"]
open(f"started-{run}", "a").write("x")
number = 0
while not os.path.exists("enough"):
    print(f"line {number}", flush=True)
    number += 1
    time.sleep(0.01)
open(f"printed-{run}", "w").write(str(number))
"""


def lines_of(hub: SmallHub, run_id: str) -> list[str]:  # noqa: F811
    texts = [payload["text"] for _, type_, payload in hub.runs[run_id].records if type_ == "run.output"]
    return "".join(texts).splitlines()


def has_grown(hub: SmallHub, run_id: str, records: int) -> bool:  # noqa: F811
    return len(hub.runs[run_id].records) > records


async def test_killing_the_node_server_again_and_again_costs_no_record(
    node: NodeProcess,  # noqa: F811
    hub: SmallHub,  # noqa: F811
) -> None:
    await hub.connect()
    runs = [str(new_id()) for _ in range(RUNS)]
    for run_id in runs:
        spec = start_of(run_id, node.home, sys.executable, "-c", SCRIPT)
        assert (await hub.command(run_id, spec)).accepted
    for _ in range(KILLS):
        before = len(hub.runs[runs[0]].records)
        grown = partial(has_grown, hub, runs[0], before + 3)
        await eventually_async(grown, timeout=60)
        node.kill()
        await hub.aclose()
        await asyncio.to_thread(node.start)
        await hub.connect()
    (node.home / "work/enough").touch()
    for run_id in runs:
        assert await hub.ended(run_id, timeout=60) == "run.completed"
        assert hub.runs[run_id].is_dense()
        printed = int((node.home / f"work/printed-{run_id}").read_text())
        assert lines_of(hub, run_id) == [f"line {number}" for number in range(printed)]
        assert starts_of(node.home, run_id) == "x"


def starts_of(home: Path, run_id: str) -> str:
    return (home / f"work/started-{run_id}").read_text()
