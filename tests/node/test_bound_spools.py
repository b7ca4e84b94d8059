"""The spools of all runs together have a bound: agents wait at it, and go on when the hub has taken records."""

import sys

from nodes.contract.ids import new_id
from nodes.server.spool import segments_of
from tests.node.hub import SmallHub
from tests.node.parts import NodeProcess, start_of
from tests.support import eventually_async

MIB = 1024 * 1024
LINES = 300
SCRIPT = f"""
import time
for number in range({LINES}):
    print(f"{{number:06}}" + "x" * 40_000, flush=True)
    time.sleep(0.02)
"""


async def test_agents_wait_at_the_nodes_bound_and_lose_nothing(idle_node: NodeProcess, hub: SmallHub) -> None:
    idle_node.environment["AGENTHUB_NODE__SPOOL_BYTES"] = str(MIB)
    idle_node.start()
    hub.acknowledges, hub.credit = False, 1
    await hub.connect()
    run_id = str(new_id())
    spec = start_of(run_id, idle_node.home, sys.executable, "-c", SCRIPT)
    assert (await hub.command(run_id, spec)).accepted
    await eventually_async(lambda: "spools.full" in idle_node.log, timeout=30)
    other = str(new_id())
    refused = await hub.command(other, start_of(other, idle_node.home))
    assert (refused.accepted, refused.code) == (False, "busy")
    directory = idle_node.home / "node/runs" / run_id
    assert sum(segment.path.stat().st_size for segment in segments_of(directory, 1)) < LINES * 40_000
    await hub.acknowledge_again()
    assert await hub.ended(run_id, timeout=60) == "run.completed"
    assert hub.runs[run_id].is_dense()
    texts = [payload["text"] for _, type_, payload in hub.runs[run_id].records if type_ == "run.output"]
    assert [line[:6] for line in "".join(texts).splitlines()] == [f"{number:06}" for number in range(LINES)]
    assert "disk_full" in [payload.get("reason") for _, _, payload in hub.runs[run_id].records]
