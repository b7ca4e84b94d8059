"""A link that breaks: noticed, explained, and survived 200 times without loss or repeat."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from nodes.contract.limits import FRAME_BYTES
from nodes.link.dial import dial
from nodes.link.errors import LinkClosed, LinkError, LinkSilent
from nodes.link.link import NodeEnd
from nodes.link.services import NODE_LINK
from nodes.pb.link_pb2 import FileChunk, Heartbeat, HubFrame, NodeFrame, Records, RecordsAck, Welcome
from tests.link.parts import Certificates, Relay, hello_of, listening, make_certificates, until_cut
from tests.support import eventually_async

RECORDS = 2_000
CUTS = 200


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return make_certificates()


class Counting:
    """A node that sends the numbers that its hub has not acknowledged, a few at a time."""

    def __init__(self, certificates: Certificates) -> None:
        self._node = certificates.node
        self.ended: list[LinkError | None] = []

    async def handle(self, link: NodeEnd) -> None:
        try:
            await self._count(link)
        finally:
            self.ended.append(link.cause)

    async def _count(self, link: NodeEnd) -> None:
        await link.send(hello_of(self._node))
        committed = (await link.welcome()).acked[0].origin_seq
        window = asyncio.Semaphore(4)

        async def send() -> None:
            for number in range(committed + 1, RECORDS + 1):
                await window.acquire()
                await link.send(NodeFrame(records=Records(batch=number)))

        sending = asyncio.create_task(send())
        try:
            async for _ in link.frames():
                window.release()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def test_two_hundred_cuts_lose_nothing_and_repeat_nothing(certificates: Certificates) -> None:
    node = Counting(certificates)
    committed: list[int] = []
    cuts = 0
    async with listening(certificates.local, node.handle) as address, Relay(address) as relay:
        while len(committed) < RECORDS:
            try:
                link = await dial(relay.address, certificates.hub, certificates.node)
                await link.hello()
                await link.send(HubFrame(welcome=Welcome(protocol=1, acked=[{"origin_seq": len(committed)}])))
                async for frame in link.frames():
                    committed.append(frame.records.batch)
                    await link.send(HubFrame(ack=RecordsAck(batch=frame.records.batch)))
                    if len(committed) % (RECORDS // CUTS) == 0:
                        relay.cut()
                        cuts += 1
                        break
                await link.aclose()
            except LinkError:
                continue
        await eventually_async(lambda: len(node.ended) == relay.connections)
    assert committed == list(range(1, RECORDS + 1))
    assert cuts == CUTS


async def test_a_half_open_connection_is_noticed_at_both_ends(certificates: Certificates) -> None:
    node = Counting(certificates)
    async with listening(certificates.local, node.handle, silence_seconds=2) as address, Relay(address) as relay:
        link = await dial(relay.address, certificates.hub, certificates.node, silence_seconds=2)
        await link.hello()
        await link.send(HubFrame(welcome=Welcome(protocol=1, acked=[{"origin_seq": RECORDS}])))
        relay.hold()
        assert isinstance(await asyncio.wait_for(link.wait_closed(), 30), LinkSilent)
        await eventually_async(lambda: node.ended)
        assert isinstance(node.ended[0], LinkSilent)


@pytest.fixture
async def frozen_peer(
    certificates: Certificates, tmp_path: Path
) -> AsyncIterator[tuple["subprocess.Popen[bytes]", str]]:
    """A node in a process of its own, so that it can be stopped in its tracks."""
    local = certificates.local
    for name, data in (("ca.pem", local.authority), ("local.pem", local.certificate), ("local.key", local.key)):
        (tmp_path / name).write_bytes(data)
    child = subprocess.Popen([sys.executable, "-m", "tests.link.echo", str(tmp_path)])
    port = tmp_path / "port"
    await eventually_async(port.exists, timeout=30)
    yield child, f"127.0.0.1:{port.read_text()}"
    child.kill()
    child.wait(10)


async def test_a_frozen_peer_is_noticed(
    certificates: Certificates, frozen_peer: tuple["subprocess.Popen[bytes]", str]
) -> None:
    child, address = frozen_peer
    link = await dial(address, certificates.hub, certificates.node, silence_seconds=2)
    await link.hello()
    os.kill(child.pid, signal.SIGSTOP)
    cause = await asyncio.wait_for(link.wait_closed(), 30)
    os.kill(child.pid, signal.SIGCONT)
    assert isinstance(cause, LinkSilent)


async def test_a_killed_peer_is_noticed_at_once(
    certificates: Certificates, frozen_peer: tuple["subprocess.Popen[bytes]", str]
) -> None:
    child, address = frozen_peer
    link = await dial(address, certificates.hub, certificates.node)
    await link.hello()
    child.kill()
    assert isinstance(await asyncio.wait_for(link.wait_closed(), 30), LinkClosed)


async def test_a_goodbye_carries_its_reason_to_the_other_end(certificates: Certificates) -> None:
    async def leave(link: NodeEnd) -> None:
        await link.send(hello_of(certificates.node))
        await link.aclose("The node server is stopping.", "stopping")

    async with listening(certificates.local, leave) as address:
        link = await dial(address, certificates.hub, certificates.node)
        cause = await asyncio.wait_for(link.wait_closed(), 30)
        assert (cause.text, cause.data) == ("The node server is stopping.", {"code": "stopping"})


async def test_what_arrived_before_the_end_is_still_handed_out(certificates: Certificates) -> None:
    async def leave(link: NodeEnd) -> None:
        await link.send(hello_of(certificates.node))
        for number in range(3):
            await link.send(NodeFrame(records=Records(batch=number)))
        await until_cut(link)

    async with listening(certificates.local, leave) as address, Relay(address) as relay:
        link = await dial(relay.address, certificates.hub, certificates.node)
        await link.hello()
        await eventually_async(lambda: len(link._inbound) == 3)
        relay.cut()
        await link.wait_closed()
        batches = []
        with pytest.raises(LinkClosed):
            async for frame in link.frames():
                batches.append(frame.records.batch)
        assert batches == [0, 1, 2]


async def test_a_frame_over_the_limit_from_the_peer_ends_the_link(certificates: Certificates) -> None:
    ended: list[LinkError] = []

    async def listen(link: NodeEnd) -> None:
        await until_cut(link)
        ended.append(await link.wait_closed())

    names = [("grpc.ssl_target_name_override", certificates.node.server_name)]
    async with (
        listening(certificates.local, listen) as address,
        grpc.aio.secure_channel(address, certificates.hub.for_dialling(), options=names) as channel,
    ):
        call = channel.stream_stream(
            NODE_LINK, request_serializer=HubFrame.SerializeToString, response_deserializer=NodeFrame.FromString
        )(None)
        await call.write(HubFrame(chunk=FileChunk(data=b"x" * FRAME_BYTES)))
        await eventually_async(lambda: ended)
        assert isinstance(ended[0], LinkClosed)


async def test_health_and_reflection_are_beside_the_link(certificates: Certificates) -> None:
    names = [("grpc.ssl_target_name_override", certificates.node.server_name)]
    async with (
        listening(certificates.local, until_cut) as address,
        grpc.aio.secure_channel(address, certificates.hub.for_dialling(), options=names) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service="agenthub.node.v1.NodeLink"), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_nodes_heartbeat_comes_back_with_its_number(certificates: Certificates) -> None:
    numbers: list[int] = []

    async def beat(link: NodeEnd) -> None:
        await link.send(hello_of(certificates.node))
        await link.send(NodeFrame(heartbeat=Heartbeat(number=41)))
        async for frame in link.frames():
            numbers.append(frame.heartbeat.number)

    async with listening(certificates.local, beat) as address:
        link = await dial(address, certificates.hub, certificates.node)
        await eventually_async(lambda: numbers == [41])
        await link.aclose()
