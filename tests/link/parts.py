"""A hub's and a node's certificates, a node that echoes, and a relay whose wire can be cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from nodes import pki
from nodes.link.credentials import Credentials
from nodes.link.errors import LinkError
from nodes.link.link import NodeEnd
from nodes.link.serve import node_server
from nodes.link.versions import PROTOCOL
from nodes.pb.link_pb2 import Hello, NodeFrame
from nodes.pki import Authority, NodeIdentity, Pair


@dataclass
class Certificates:
    authority: Authority
    node: NodeIdentity

    def credentials(self, pair: Pair) -> Credentials:
        return Credentials(self.authority.pem, pair.certificate, pair.key)

    @property
    def hub(self) -> Credentials:
        return self.credentials(pki.issue_hub(self.authority))

    @property
    def local(self) -> Credentials:
        return self.credentials(pki.issue_node(self.authority, self.node))


def make_certificates() -> Certificates:
    return Certificates(pki.make_authority(), NodeIdentity(uuid4(), 1))


def hello_of(node: NodeIdentity) -> NodeFrame:
    return NodeFrame(hello=Hello(protocol=PROTOCOL, node_id=str(node.node_id)))


@asynccontextmanager
async def listening(
    credentials: Credentials, handler: Callable[[NodeEnd], Awaitable[object]], **options: float
) -> AsyncIterator[str]:
    """A node on loopback; its address."""
    server = node_server(credentials, handler, **options)
    await server.start("127.0.0.1:0")
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop(0.1)


class Relay:
    """Forwards TCP to a target until it is told to cut or to hold everything."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.address = ""
        self.connections = 0

    async def __aenter__(self) -> "Relay":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset every connection; new ones are accepted."""
        for writer in self._writers:
            writer.transport.abort()
        self._flows.set()

    def hold(self) -> None:
        """Half-open: everything stays connected, nothing gets through any more."""
        self._flows.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        onward_reader, onward_writer = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, onward_writer}
        await asyncio.gather(self._pump(reader, onward_writer), self._pump(onward_reader, writer))
        self._writers -= {writer, onward_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


async def until_cut(link: NodeEnd) -> list[str]:
    """Read a link to its end; the kinds of the frames that came."""
    kinds: list[str] = []
    with contextlib.suppress(LinkError):
        async for frame in link.frames():
            kinds.append(str(frame.WhichOneof("frame")))
    return kinds
