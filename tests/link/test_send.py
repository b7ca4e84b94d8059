"""Sending over a link: what goes first, what is too large, what happens when the peer takes nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from nodes.contract.limits import FRAME_BYTES
from nodes.link.errors import FrameTooLarge, LinkClosed, LinkProtocolError
from nodes.link.lanes import LANE_BYTES, Lane, Lanes
from nodes.link.link import HubEnd, Link
from nodes.pb.link_pb2 import (
    Command,
    CommandResult,
    FileChunk,
    Heartbeat,
    HubFrame,
    NodeFrame,
    Records,
    RunRecords,
)
from tests.link.parts import Certificates, make_certificates
from tests.support import eventually_async


class GatedWire:
    """A wire that lets nothing out until its gate is opened, and then notes what left."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.left: list[str] = []
        self.inbound: asyncio.Queue[NodeFrame | None] = asyncio.Queue()
        self.is_aborted = False
        self.is_held = False

    async def read(self) -> NodeFrame | None:
        return await self.inbound.get()

    async def write(self, frame: HubFrame) -> None:
        self.is_held = True
        await self.gate.wait()
        self.left.append(str(frame.WhichOneof("frame")))

    async def finish(self) -> None:
        self.left.append("finish")

    def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return make_certificates()


@pytest.fixture
async def wire() -> GatedWire:
    return GatedWire()


@pytest.fixture
async def link(wire: GatedWire, certificates: Certificates) -> AsyncIterator[HubEnd]:
    link = HubEnd(wire, "gated", certificates.node)
    yield link
    wire.gate.set()
    await link.aclose()


def chunk(size: int) -> HubFrame:
    return HubFrame(chunk=FileChunk(data=b"x" * size))


async def test_what_is_urgent_overtakes_what_waits(wire: GatedWire, link: HubEnd) -> None:
    await link.send(chunk(10))
    await link.send(HubFrame(command=Command(id="1")))
    await link.send(HubFrame(ack={"batch": 1}))
    await link.send(HubFrame(heartbeat=Heartbeat(number=1)))
    wire.gate.set()
    await eventually_async(lambda: len(wire.left) == 4)
    assert wire.left == ["heartbeat", "ack", "command", "chunk"]


async def test_a_nodes_frames_leave_in_the_order_of_the_protocol() -> None:
    lanes: Lanes[str] = Lanes()
    for lane in (Lane.CHUNK, Lane.RECORDS, Lane.COMMAND, Lane.RESULT, Lane.HEARTBEAT):
        lanes.try_put(lane, lane.name, 1)
    left = [await lanes.take() for _ in Lane]
    assert left == ["HEARTBEAT", "RESULT", "COMMAND", "RECORDS", "CHUNK"]


async def test_frames_of_one_kind_keep_their_order(wire: GatedWire) -> None:
    lanes: Lanes[int] = Lanes()
    for number in range(5):
        lanes.try_put(Lane.RECORDS, number, 1)
    assert [await lanes.take() for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_a_full_lane_refuses_and_the_others_do_not(wire: GatedWire, link: HubEnd) -> None:
    taken = sum(link.try_send(chunk(128 * 1024)) for _ in range(20))
    assert LANE_BYTES // (129 * 1024) <= taken <= LANE_BYTES // (128 * 1024) + 1
    assert link.try_send(HubFrame(command=Command(id="1")))


async def fill(wire: GatedWire, link: HubEnd) -> None:
    """One frame stuck on its way out, and its lane full behind it."""
    await link.send(chunk(1))
    await eventually_async(lambda: wire.is_held)
    while link.try_send(chunk(128 * 1024)):
        pass


async def test_a_sender_waits_for_room_and_then_goes_on(wire: GatedWire, link: HubEnd) -> None:
    await fill(wire, link)
    waiting = asyncio.create_task(link.send(chunk(128 * 1024)))
    await asyncio.sleep(0)
    assert not waiting.done()
    wire.gate.set()
    await asyncio.wait_for(waiting, 30)


async def test_a_sender_that_waits_hears_that_the_link_is_over(wire: GatedWire, link: HubEnd) -> None:
    await fill(wire, link)
    waiting = asyncio.create_task(link.send(chunk(128 * 1024)))
    await asyncio.sleep(0)
    wire.inbound.put_nowait(None)
    with pytest.raises(LinkClosed, match="without saying why"):
        await asyncio.wait_for(waiting, 30)


async def test_a_frame_over_the_limit_is_refused_and_the_link_goes_on(wire: GatedWire, link: HubEnd) -> None:
    with pytest.raises(FrameTooLarge, match="chunk"):
        await link.send(chunk(FRAME_BYTES))
    wire.gate.set()
    await link.send(chunk(FRAME_BYTES - 64))
    await eventually_async(lambda: wire.left == ["chunk"])


async def test_heartbeats_are_answered_though_nobody_reads(wire: GatedWire, link: HubEnd) -> None:
    wire.gate.set()
    wire.inbound.put_nowait(NodeFrame(heartbeat=Heartbeat(number=9)))
    await eventually_async(lambda: wire.left == ["heartbeat", "ping"])


async def test_a_peer_without_credit_that_floods_is_cut(
    wire: GatedWire, link: HubEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.link.link.INBOUND_BYTES", 4000)
    for _ in range(3):
        wire.inbound.put_nowait(NodeFrame(records=Records(runs=[RunRecords(frames=b"x" * 400)])))
    assert isinstance(await asyncio.wait_for(link.wait_closed(), 30), LinkProtocolError)
    assert wire.is_aborted


async def test_a_flood_of_tiny_frames_is_cut_too(
    wire: GatedWire, link: HubEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.link.link.INBOUND_BYTES", 100 * 1024)
    for _ in range(100):
        wire.inbound.put_nowait(NodeFrame(result=CommandResult(id="1")))
    assert isinstance(await asyncio.wait_for(link.wait_closed(), 30), LinkProtocolError)


async def test_another_frame_in_place_of_hello_breaks_the_link(wire: GatedWire, link: HubEnd) -> None:
    wire.inbound.put_nowait(NodeFrame(result=CommandResult(id="1")))
    with pytest.raises(LinkProtocolError, match="result before hello"):
        await link.hello(5)


async def test_closing_says_goodbye_and_leaves_no_task(wire: GatedWire, certificates: Certificates) -> None:
    wire.gate.set()
    link: Link[HubFrame, NodeFrame] = HubEnd(wire, "gated", certificates.node)
    await link.aclose("done")
    assert wire.left == ["goodbye", "finish"]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("link-")]


async def test_a_closed_link_ends_its_frames_and_refuses_to_send(wire: GatedWire, link: HubEnd) -> None:
    wire.gate.set()
    await link.aclose("done")
    assert [frame async for frame in link.frames()] == []
    with pytest.raises(LinkClosed, match="done"):
        await link.send(chunk(1))
