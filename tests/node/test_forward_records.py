"""Records from spools to the hub: all of them, once, in order, within the credit, fair between runs."""

from nodes.contract.limits import BATCH_RECORDS
from nodes.link.errors import LinkClosed
from nodes.server.rundir import RunDir, Standing
from nodes.server.spool import segments_of
from tests.link.parts import Relay
from tests.node.hub import SmallHub
from tests.node.parts import NodeProcess, ended_run
from tests.support import eventually_async


def standing(directory: RunDir) -> Standing:
    return directory.standing()


async def test_an_ended_runs_records_arrive_once_and_it_is_buried(idle_node: NodeProcess, hub: SmallHub) -> None:
    run = ended_run(idle_node.home, 1_200)
    idle_node.start()
    await hub.connect()
    await hub.ended(run.run_id)
    assert hub.runs[run.run_id].is_dense()
    assert len(hub.runs[run.run_id].records) == 1_200
    await eventually_async(lambda: standing(run) is Standing.BURIED and not segments_of(run.path, 1))


async def test_a_damaged_directory_keeps_no_other_run_waiting(idle_node: NodeProcess, hub: SmallHub) -> None:
    unreadable, broken, whole = (ended_run(idle_node.home, 5) for _ in range(3))
    (unreadable.path / "generation").write_bytes(bytes(4))
    (broken.path / "acked").mkdir()
    idle_node.start()
    await hub.connect()
    for run in (broken, whole):
        await hub.ended(run.run_id)
    await eventually_async(lambda: standing(whole) is Standing.BURIED)
    assert standing(broken) is Standing.ENDED


async def test_a_batch_holds_no_more_than_it_may(idle_node: NodeProcess, hub: SmallHub) -> None:
    runs = [ended_run(idle_node.home, 700) for _ in range(4)]
    idle_node.start()
    await hub.connect()
    for run in runs:
        await hub.ended(run.run_id)
    assert max(hub.batches) <= BATCH_RECORDS
    assert sum(hub.batches) == 4 * 700


async def test_large_records_travel_in_frames_of_the_links_size(idle_node: NodeProcess, hub: SmallHub) -> None:
    run = ended_run(idle_node.home, 40, text="x" * 60_000)
    idle_node.start()
    await hub.connect()
    await hub.ended(run.run_id)
    assert hub.runs[run.run_id].is_dense()


async def test_no_more_batches_are_under_way_than_there_is_credit(idle_node: NodeProcess, hub: SmallHub) -> None:
    run = ended_run(idle_node.home, 5_000)
    hub.credit, hub.acknowledges = 3, False
    idle_node.start()
    await hub.connect()
    await eventually_async(lambda: hub.unacknowledged == 3)
    await eventually_async(lambda: len(hub.heartbeats) >= 2, timeout=60)
    assert hub.most_unacknowledged == 3
    await hub.acknowledge_again()
    await hub.ended(run.run_id)
    assert hub.runs[run.run_id].is_dense()


async def test_a_long_run_does_not_hold_up_the_others(idle_node: NodeProcess, hub: SmallHub) -> None:
    long = ended_run(idle_node.home, 20_000)
    short = [ended_run(idle_node.home, 5) for _ in range(5)]
    idle_node.start()
    await hub.connect()
    for run in short:
        await hub.ended(run.run_id)
    assert hub.runs[long.run_id].last < 20_000
    await hub.ended(long.run_id)


async def test_a_run_that_the_hub_refuses_is_not_sent_again(idle_node: NodeProcess, hub: SmallHub) -> None:
    refused, welcome = ended_run(idle_node.home, 10), ended_run(idle_node.home, 10)
    hub.refuses.add(refused.run_id)
    idle_node.start()
    await hub.connect()
    await hub.ended(welcome.run_id)
    await eventually_async(lambda: standing(refused) is Standing.BURIED)
    assert hub.runs[refused.run_id].records == []


async def test_what_the_hub_has_committed_is_not_sent_again_after_a_cut(idle_node: NodeProcess, hub: SmallHub) -> None:
    run = ended_run(idle_node.home, 5_000)
    hub.credit, hub.acknowledges = 2, False
    idle_node.start()
    await hub.connect()
    await eventually_async(lambda: hub.unacknowledged == 2)
    hub.link.cut(LinkClosed("The test cuts it."))
    await hub.aclose()
    hub.acknowledges = True
    await hub.connect()
    await hub.ended(run.run_id)
    assert hub.runs[run.run_id].repeats == 0
    assert hub.runs[run.run_id].is_dense()


async def test_two_hundred_cuts_lose_no_record_and_double_none(idle_node: NodeProcess, hub: SmallHub) -> None:
    runs = [ended_run(idle_node.home, 12_000) for _ in range(3)]
    node = idle_node.start()
    hub.credit = 2
    cuts = 0
    async with Relay(node.address) as relay:
        while cuts < 200:
            await hub.connect(relay.address)
            seen = len(hub.batches)
            await eventually_async(lambda seen=seen: len(hub.batches) > seen or _all_ended(hub, runs))  # type: ignore[misc]
            relay.cut()
            cuts += 1
            await hub.aclose()
    await hub.connect()
    for run in runs:
        await hub.ended(run.run_id)
        assert hub.runs[run.run_id].is_dense()
        assert len(hub.runs[run.run_id].records) == 12_000
        assert hub.runs[run.run_id].repeats == 0


async def test_blobs_follow_and_are_removed_once_the_hub_has_them(idle_node: NodeProcess, hub: SmallHub) -> None:
    run = ended_run(idle_node.home, 10)
    large, small = run.write_blob(b"p" * 700_000), run.write_blob(b"")
    idle_node.start()
    await hub.connect()
    await eventually_async(lambda: standing(run) is Standing.BURIED)
    assert hub.blobs == {large.digest: b"p" * 700_000, small.digest: b""}


def _all_ended(hub: SmallHub, runs: list[RunDir]) -> bool:
    return all(hub.runs[run.run_id].last == 12_000 for run in runs)
