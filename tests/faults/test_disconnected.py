"""The hub, the link or the node server is gone for longer than an agent allows: its run is stopped on the node."""

import asyncio
import sys

from nodes.contract.ids import new_id
from tests.node.conftest import hub, idle_node, node, prepared  # noqa: F401
from tests.node.hub import SmallHub
from tests.node.parts import NodeProcess, start_of
from tests.support import eventually_async

SCRIPT = """
import os, time
print("at work", flush=True)
until = time.monotonic() + float(os.environ.get("SECONDS", "600"))
while time.monotonic() < until:
    time.sleep(0.1)
"""


async def start(hub: SmallHub, node: NodeProcess, script: str = SCRIPT, **fields: float) -> str:  # noqa: F811
    run_id = str(new_id())
    await hub.connect()
    spec = start_of(run_id, node.home, sys.executable, "-c", script, **fields)
    assert (await hub.command(run_id, spec)).accepted
    await eventually_async(lambda: "run.output" in hub.runs[run_id].types, timeout=60)
    return run_id


async def is_stopped(node: NodeProcess, run_id: str) -> None:  # noqa: F811
    """By its own supervisor: the ending is on the disk before anybody is back."""
    await eventually_async((node.home / "node/runs" / run_id / "ended").exists, timeout=60)


async def says_why(hub: SmallHub, run_id: str) -> None:  # noqa: F811
    assert await hub.ended(run_id, timeout=60) == "run.failed"
    _, _, ending = hub.runs[run_id].records[-1]
    assert (ending["reason"], hub.runs[run_id].is_dense()) == ("disconnected", True)
    assert "without its hub for 2 seconds" in ending["message"]


async def test_a_run_is_stopped_when_the_hub_stays_away_and_says_so_on_its_return(
    node: NodeProcess,  # noqa: F811
    hub: SmallHub,  # noqa: F811
) -> None:
    run_id = await start(hub, node, stop_after_seconds=2.0)
    await hub.aclose()
    await is_stopped(node, run_id)
    await hub.connect()
    await says_why(hub, run_id)


async def test_a_run_is_stopped_when_the_node_server_stays_away_and_says_so_on_its_return(
    node: NodeProcess,  # noqa: F811
    hub: SmallHub,  # noqa: F811
) -> None:
    run_id = await start(hub, node, stop_after_seconds=2.0)
    node.kill()
    await hub.aclose()
    await is_stopped(node, run_id)
    await asyncio.to_thread(node.start)
    await hub.connect()
    await says_why(hub, run_id)


async def test_a_run_goes_on_for_longer_while_the_hub_is_there_and_through_a_short_cut(
    node: NodeProcess,  # noqa: F811
    hub: SmallHub,  # noqa: F811
) -> None:
    """The bound is far beyond what a new connection takes, and the run takes longer than the bound."""
    run_id = await start(hub, node, SCRIPT.replace("600", "30"), stop_after_seconds=20.0)
    await hub.aclose()
    await hub.connect()
    assert await hub.ended(run_id, timeout=90) == "run.completed"


async def test_a_run_of_an_agent_without_the_setting_goes_on_without_the_hub(
    node: NodeProcess,  # noqa: F811
    hub: SmallHub,  # noqa: F811
) -> None:
    run_id = await start(hub, node, SCRIPT.replace("600", "8"))
    node.kill()
    await hub.aclose()
    await is_stopped(node, run_id)  # by its own end
    await asyncio.to_thread(node.start)
    await hub.connect()
    assert await hub.ended(run_id, timeout=60) == "run.completed"
