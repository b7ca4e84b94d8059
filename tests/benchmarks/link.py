"""Records over one link, from a node's process to this one, beside a bare gRPC stream with the same frames.

Both over the same mutual TLS, by the same options and messages; the bare stream has no lanes, no bounds and no watch.
Full frames of 500 records, and frames of one record, which is what a single quiet run sends.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio

from nodes.contract.events import MessageDelta
from nodes.contract.record import encode
from nodes.link.credentials import Credentials
from nodes.link.dial import dial
from nodes.link.link import NodeEnd
from nodes.link.serve import LinkServer, node_server
from nodes.link.services import ACCEPTED, NODE_LINK
from nodes.link.versions import PROTOCOL
from nodes.link.wires import OPTIONS
from nodes.pb import link_pb2 as pb
from nodes.pki import NodeIdentity, ensure_pki, identity_of
from tests.benchmarks.figures import Figure, say


@dataclass(frozen=True, slots=True)
class Load:
    """``frames`` of so many records each."""

    name: str
    records: int
    frames: int

    def frame(self) -> pb.NodeFrame:
        payload = MessageDelta(message_id="0123456789", text="x" * 255)
        records = b"".join(encode(number + 1, payload) for number in range(self.records))
        run = pb.RunRecords(run_id=str(uuid4()), generation=1, count=self.records, frames=records)
        return pb.NodeFrame(records=pb.Records(batch=1, runs=[run]))


LOADS = (Load("500 records a frame", 500, 2_000), Load("1 record a frame", 1, 10_000))


async def serve(directory: Path, kind: str, load: Load) -> None:
    """The node's side: sends the load to whoever dials. Prints its port."""
    credentials = Credentials.load(directory, "local")
    node = identity_of(credentials.certificate)
    assert node is not None
    hello = pb.NodeFrame(hello=pb.Hello(protocol=PROTOCOL, oldest_protocol=PROTOCOL, node_id=str(node.node_id)))
    frame = load.frame()

    async def send_by_link(link: NodeEnd) -> None:
        await link.send(hello)
        await link.welcome()
        for _ in range(load.frames):
            await link.send(frame)
        async for _ in link.frames():
            pass

    async def send_bare(_: object, context: Any) -> None:
        await context.send_initial_metadata(((ACCEPTED, "1"),))
        await context.read()
        for _ in range(load.frames):
            await context.write(frame)

    if kind == "link":
        server = node_server(credentials, send_by_link)
    else:
        method = grpc.stream_stream_rpc_method_handler(
            send_bare, pb.HubFrame.FromString, pb.NodeFrame.SerializeToString
        )
        server = LinkServer(credentials.for_listening(), NODE_LINK, method)
    await server.start("127.0.0.1:0")
    print(server.port, flush=True)
    await asyncio.Event().wait()


async def by_link(directory: Path, address: str) -> AsyncIterator[pb.NodeFrame]:
    credentials = Credentials.load(directory, "hub")
    link = await dial(address, credentials, _node(directory))
    await link.hello()
    await link.send(pb.HubFrame(welcome=pb.Welcome(protocol=PROTOCOL, epoch=1)))
    async for frame in link.frames():
        yield frame


async def bare(directory: Path, address: str) -> AsyncIterator[pb.NodeFrame]:
    credentials = Credentials.load(directory, "hub").for_dialling()
    options = [*OPTIONS, ("grpc.ssl_target_name_override", _node(directory).server_name)]
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        call: Any = channel.stream_stream(
            NODE_LINK, request_serializer=pb.HubFrame.SerializeToString, response_deserializer=pb.NodeFrame.FromString
        )(None)
        await call.write(pb.HubFrame(welcome=pb.Welcome(protocol=PROTOCOL)))
        while (frame := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            yield frame


def _node(directory: Path) -> NodeIdentity:
    node = identity_of((directory / "local.pem").read_bytes())
    assert node is not None
    return node


async def measure(directory: Path, kind: str, number: int) -> float:
    """Frames per second, from the first to the last."""
    load = LOADS[number]
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.link", str(directory), kind, str(number)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout
        address = f"127.0.0.1:{int(server.stdout.readline())}"
        seen, began = 0, 0.0
        async for frame in (by_link if kind == "link" else bare)(directory, address):
            if frame.WhichOneof("frame") != "records":
                continue
            began = began or time.perf_counter()
            seen += 1
            if seen == load.frames:
                break
        assert seen == load.frames, f"{seen} of {load.frames} frames came"
        return load.frames / (time.perf_counter() - began)
    finally:
        server.kill()
        server.wait()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ahb-") as name:
        directory = Path(name) / "pki"
        ensure_pki(directory, uuid4())
        for number, load in enumerate(LOADS):
            limit = asyncio.run(measure(directory, "bare", number))
            rate = asyncio.run(measure(directory, "link", number))
            megabytes = load.frame().ByteSize() / 1e6
            say(
                Figure(
                    f"link: {load.name}",
                    f"{rate:,.0f} frames/s, {rate * load.records:,.0f} records/s, {rate * megabytes:,.0f} MB/s",
                    f"bare gRPC stream {limit:,.0f} frames/s",
                )
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], LOADS[int(sys.argv[3])]))
    else:
        main()
