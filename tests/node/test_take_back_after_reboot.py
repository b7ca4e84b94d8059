"""A machine that restarted: its disk may have lost its last second, and the hub may know more than the disk."""

import json

import pytest

from nodes.contract import events
from nodes.contract.ids import new_id
from nodes.server.rundir import RunDir, Standing
from nodes.server.spool import SpoolWriter
from tests.node.hub import SmallHub
from tests.node.parts import NodeProcess, start_of
from tests.support import eventually_async

ON_DISK = 90


@pytest.fixture
def interrupted(idle_node: NodeProcess) -> RunDir:
    """A run that was going on when the machine went down: its lock was signed in another boot."""
    directory = RunDir(idle_node.home / "node/runs", str(new_id()))
    directory.write_spec(start_of(directory.run_id, idle_node.home))
    writer = SpoolWriter(directory.path, 1)
    for _ in range(ON_DISK):
        writer.append(events.MessageDelta(message_id="m1", text="hello"))
    writer.flush()
    writer.close()
    (directory.path / "lock").write_text(json.dumps({"pid": 1, "started": 1, "boot_id": "an earlier one"}))
    return directory


@pytest.mark.parametrize(("committed", "arriving"), [(50, 40), (ON_DISK, 0), (ON_DISK + 1, 0), (ON_DISK + 10, 0)])
async def test_the_ending_arrives_whatever_the_hub_has(
    idle_node: NodeProcess, hub: SmallHub, interrupted: RunDir, committed: int, arriving: int
) -> None:
    run = hub.runs[interrupted.run_id]
    run.records = [(number, "run.message.delta", {}) for number in range(1, committed + 1)]
    idle_node.start()
    await hub.connect()
    assert await hub.ended(interrupted.run_id) == "run.failed"
    assert run.records[-1][2]["reason"] == "node_rebooted"
    assert len(run.records) == committed + arriving + 1
    assert run.repeats == 0
    await eventually_async(lambda: interrupted.standing() is Standing.BURIED)


async def test_what_was_sent_and_not_committed_is_sent_again_in_both_generations(
    idle_node: NodeProcess, hub: SmallHub, interrupted: RunDir
) -> None:
    hub.commits = False
    idle_node.start()
    await hub.connect()
    await eventually_async(lambda: sum(hub.batches) == ON_DISK + 1)
    await hub.aclose()
    hub.commits = True
    await hub.connect()
    assert await hub.ended(interrupted.run_id) == "run.failed"
    assert len(hub.runs[interrupted.run_id].records) == ON_DISK + 1
