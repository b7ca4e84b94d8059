"""The link's round trip, by the hub's own clock."""

import asyncio
from functools import partial

import pytest

from nodes.link.dial import dial
from nodes.link.link import LEAST_PINGS, PING_EVERY, HubEnd, NodeEnd
from nodes.pb.link_pb2 import Heartbeat, HubFrame, NodeFrame, Pong, Welcome
from tests.link.parts import Certificates, hello_of, listening, make_certificates
from tests.link.test_send import GatedWire
from tests.support import eventually_async


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return make_certificates()


async def test_heartbeats_measure_the_latency(certificates: Certificates) -> None:
    async def beat(link: NodeEnd) -> None:
        await link.send(hello_of(certificates.node))
        await link.welcome()
        while True:
            await link.send(NodeFrame(heartbeat=Heartbeat()))
            await asyncio.sleep(0.01)

    async with listening(certificates.local, beat) as address:
        link = await dial(address, certificates.hub, certificates.node)
        await link.hello()
        await link.send(HubFrame(welcome=Welcome(protocol=1)))
        assert link.latency_ms is None
        await eventually_async(lambda: link.latency_ms)
        await link.aclose()


class PingedWire(GatedWire):
    """A wire that notes which numbers were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    async def write(self, frame: HubFrame) -> None:
        if frame.HasField("ping"):
            self.asked.append(frame.ping.number)

    def was_asked(self, times: int) -> bool:
        return len(self.asked) == times


async def test_only_an_answer_to_the_question_counts(certificates: Certificates) -> None:
    wire = PingedWire()
    link = HubEnd(wire, "node", certificates.node)
    for number in range(1, LEAST_PINGS + 1):
        for _ in range(3):  # one ping at a time, however many heartbeats come meanwhile
            wire.inbound.put_nowait(NodeFrame(heartbeat=Heartbeat()))
        await eventually_async(partial(wire.was_asked, number))
        wire.inbound.put_nowait(NodeFrame(pong=Pong(number=wire.asked[-1] ^ 1)))
        assert link.latency_ms is None
        wire.inbound.put_nowait(NodeFrame(pong=Pong(number=wire.asked[-1])))
    await eventually_async(lambda: link.latency_ms is not None)
    assert len(set(wire.asked)) == LEAST_PINGS
    for number in range(1, PING_EVERY + 1):  # known, it is asked for now and then
        wire.inbound.put_nowait(NodeFrame(heartbeat=Heartbeat(number=number)))
    await eventually_async(partial(wire.was_asked, LEAST_PINGS + 1))
    wire.inbound.put_nowait(NodeFrame(pong=Pong(number=wire.asked[-1])))
    wire.inbound.put_nowait(NodeFrame(heartbeat=Heartbeat(number=PING_EVERY + 1)))
    await eventually_async(lambda: not wire.inbound.qsize())
    assert wire.was_asked(LEAST_PINGS + 1)
    await link.aclose()
