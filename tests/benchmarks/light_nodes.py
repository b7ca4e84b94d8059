"""Nodes that are a link and nothing else, many in one process; and a bare server, to see what gRPC and TLS alone cost.

``python -m tests.benchmarks.light_nodes dial DIRECTORY ADDRESS``: every node of the directory dials, with its own
certificate over TLS, says hello, beats, answers pings, and dials again when it is cut, with a real node's pauses. It
prints how many are welcome whenever that changes. ``… serve DIRECTORY`` listens and does the least that a hub could.
"""

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from nodes.contract.ids import now_us
from nodes.contract.limits import HEARTBEAT_SECONDS
from nodes.link.credentials import Credentials
from nodes.link.serve import LinkServer
from nodes.link.services import ACCEPTED, HUB_LINK
from nodes.link.wires import OPTIONS
from nodes.pb import link_pb2 as pb
from nodes.pki import HUB_SERVER_NAME
from nodes.server.tunnel import STEADY_SECONDS, pause

TELL_SECONDS = 0.1
CONNECT_SECONDS = 60.0


class Fleet:
    """All nodes of this process."""

    def __init__(self, directory: Path, address: str) -> None:
        self.nodes: list[str] = json.loads((directory / "nodes.json").read_text())
        self._authority = (directory / "ca.pem").read_bytes()
        self._directory = directory
        self._address = address
        self.welcome: set[str] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for node in self.nodes:
                group.create_task(self._keep(node))
            group.create_task(self._tell())

    async def _tell(self) -> None:
        told = -1
        while True:
            if len(self.welcome) != told:
                told = len(self.welcome)
                print(json.dumps({"at": time.time(), "welcome": told}), flush=True)
            await asyncio.sleep(TELL_SECONDS)

    async def _keep(self, node: str) -> None:
        pair = (self._directory / f"{node}.pem").read_bytes()
        credentials = Credentials(self._authority, pair, pair).for_dialling()
        options = [*OPTIONS, ("grpc.ssl_target_name_override", HUB_SERVER_NAME), ("grpc.enable_retries", 0)]
        failures = 0
        while True:
            began, was_up = time.monotonic(), False
            channel = grpc.aio.secure_channel(self._address, credentials, options=options)
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    call: Any = channel.stream_stream(
                        HUB_LINK,
                        request_serializer=pb.NodeFrame.SerializeToString,
                        response_deserializer=pb.HubFrame.FromString,
                    )(None)
                    await call.write(pb.NodeFrame(hello=pb.Hello(protocol=1, node_id=node, version="light")))
                    was_up = (await call.read()).WhichOneof("frame") == "welcome"
                self.welcome.add(node)
                await self._serve(call)
            except (grpc.aio.AioRpcError, grpc.aio.UsageError, TimeoutError, AttributeError, asyncio.InvalidStateError):
                pass
            finally:
                self.welcome.discard(node)
                await channel.close(None)
            is_steady = time.monotonic() - began > STEADY_SECONDS
            failures = (0 if is_steady else 1) if was_up else failures + 1
            await asyncio.sleep(pause(failures, ""))

    async def _serve(self, call: Any) -> None:
        beating = asyncio.create_task(_beat(call))
        try:
            while (frame := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                if frame.WhichOneof("frame") == "ping":
                    await call.write(pb.NodeFrame(pong=pb.Pong(number=frame.ping.number)))
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)


async def _beat(call: Any) -> None:
    for number in itertools.count(1):
        beat = pb.Heartbeat(
            number=number, clock_us=now_us(), load=0.1, memory_free=1 << 33, disk_free=1 << 40, disk_total=1 << 41
        )
        await call.write(pb.NodeFrame(heartbeat=beat))
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def serve(directory: Path) -> None:
    """Welcome whoever comes and answer heartbeats; prints its port."""

    async def connect(_: object, context: Any) -> None:
        await context.send_initial_metadata(((ACCEPTED, "1"),))
        while (frame := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            kind = frame.WhichOneof("frame")
            if kind == "hello":
                await context.write(pb.HubFrame(welcome=pb.Welcome(protocol=1, epoch=1)))
            elif kind == "heartbeat":
                await context.write(pb.HubFrame(heartbeat=pb.Heartbeat(number=frame.heartbeat.number)))

    handler = grpc.stream_stream_rpc_method_handler(connect, pb.NodeFrame.FromString, pb.HubFrame.SerializeToString)
    credentials = Credentials.load(directory, "hub-server").for_listening()
    server = LinkServer(credentials, HUB_LINK, handler, 10_000)
    await server.start("127.0.0.1:0")
    print(json.dumps({"port": server.port}), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    role, directory = sys.argv[1], Path(sys.argv[2])
    asyncio.run(serve(directory) if role == "serve" else Fleet(directory, sys.argv[3]).run())


if __name__ == "__main__":
    main()
