"""Listening for links: a gRPC server with the link, ``grpc.health.v1`` and reflection.

Behind mutual TLS, all of it. A node by configuration listens as its ``security.mode`` says; in ``tls`` whoever connects
may ask for health and reflection, and only a hub with a token gets a link.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from nodes.contract.errors import ConfigError
from nodes.contract.ids import now_us
from nodes.contract.limits import SILENT_SECONDS
from nodes.pb.link_pb2 import HubFrame, NodeFrame
from nodes.pki import node_identity

from .credentials import Credentials
from .errors import LinkClosed, LinkError
from .gate import ConfiguredGate, Gate, HubMemory, OwnHubGate, Refused, names_shown
from .guests import Guests
from .link import HubEnd, NodeEnd
from .peers import CLOCK, NodePeer
from .services import ACCEPTED, HUB_LINK, NODE_LINK
from .wires import OPTIONS, AcceptedWire

logger = structlog.get_logger(__name__)

HANDLER_SECONDS = 10.0
"""How long a handler may take to let go of a link that was cut."""
MAX_CALLS = 256
"""A node has one hub; the others are those who look at its health, and are fewer, and those who are refused."""
LISTENING_OPTIONS: Sequence[tuple[str, int]] = (
    *OPTIONS,
    # Who connects and then says nothing, or asks for much at once, is not kept.
    ("grpc.server_handshake_timeout_ms", 15_000),
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.max_concurrent_streams", 16),
)
REFUSALS_SAID = 20
"""So many in a minute are in the log; more are counted."""
MAX_NODES = 10_000
AnyLink = TypeVar("AnyLink", HubEnd, NodeEnd)
_handling: set[asyncio.Future[None]] = set()
"""What still runs, kept from being forgotten."""
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class LinkServer:
    """A listening end. ``port`` is known once it is started."""

    def __init__(
        self,
        credentials: grpc.ServerCredentials | None,
        method: str,
        handler: "grpc.RpcMethodHandler[Any, Any]",
        max_calls: int = MAX_CALLS,
    ) -> None:
        """Without credentials it listens in plain text."""
        self._credentials = credentials
        self._max_calls = max_calls
        self._service, _, name = method.strip("/").partition("/")
        self._handler = grpc.method_handlers_generic_handler(self._service, {name: handler})
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs do not know it
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self, address: str) -> None:
        """Listen on host:port; port 0 picks a free one. Raises ``ConfigError`` when it cannot be had."""
        server = grpc.aio.server(
            interceptors=(Guests(self._service),), options=LISTENING_OPTIONS, maximum_concurrent_rpcs=self._max_calls
        )
        server.add_generic_rpc_handlers((self._handler,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (self._service, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        try:
            self.port = (
                server.add_insecure_port(address)
                if self._credentials is None
                else server.add_secure_port(address, self._credentials)
            )
        except RuntimeError as error:
            raise ConfigError(
                f"Cannot listen on {address}: the port is taken or the address is not one of this machine's."
            ) from error
        await server.start()
        self._server = server
        for name in ("", self._service):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float = 2.0) -> None:
        """Take no new link, and give the present ones ``grace`` seconds to end."""
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace)


def node_server(
    credentials: Credentials | grpc.ServerCredentials,
    handler: Callable[[NodeEnd], Awaitable[object]],
    *,
    silence_seconds: float = SILENT_SECONDS,
) -> LinkServer:
    """A node that waits to be dialled by its own hub. ``handler`` runs once per link; the link ends when it returns."""
    if isinstance(credentials, Credentials):
        credentials = credentials.for_listening()
    return _node_server(credentials, OwnHubGate(), handler, silence_seconds)


def configured_server(
    peer: NodePeer,
    memory: HubMemory,
    handler: Callable[[NodeEnd], Awaitable[object]],
    *,
    silence_seconds: float = SILENT_SECONDS,
) -> LinkServer:
    """As ``node_server``, for a node by configuration. Raises ``ConfigError`` for certificates that cannot be used."""
    return _node_server(peer.server_credentials(), ConfiguredGate(peer, memory), handler, silence_seconds)


def _node_server(
    credentials: grpc.ServerCredentials | None,
    gate: Gate,
    handler: Callable[[NodeEnd], Awaitable[object]],
    silence_seconds: float,
) -> LinkServer:
    refusals = _Refusals()

    async def connect(_: object, context: Context) -> None:
        try:
            await gate.admit(context)
        except Refused as error:
            await refusals.tell(context, error)
            return
        wire: AcceptedWire[NodeFrame, HubFrame] = AcceptedWire(context, context.peer())
        await context.send_initial_metadata(((ACCEPTED, "1"),))
        await _handle(NodeEnd(wire, context.peer(), silence_seconds=silence_seconds), handler)

    return LinkServer(
        credentials,
        NODE_LINK,
        grpc.stream_stream_rpc_method_handler(connect, HubFrame.FromString, NodeFrame.SerializeToString),
    )


def hub_server(
    credentials: Credentials | grpc.ServerCredentials,
    handler: Callable[[HubEnd], Awaitable[object]],
    *,
    silence_seconds: float = SILENT_SECONDS,
) -> LinkServer:
    """A hub that nodes dial; which node it is says the certificate."""

    refusals = _Refusals()

    async def connect(_: object, context: Context) -> None:
        node = node_identity(names_shown(context))
        if node is None:
            said = "Only a node may open a link to the hub: this certificate names none."
            await refusals.tell(context, Refused(grpc.StatusCode.PERMISSION_DENIED, said))
            return
        wire: AcceptedWire[HubFrame, NodeFrame] = AcceptedWire(context, context.peer())
        await context.send_initial_metadata(((ACCEPTED, "1"),))
        await _handle(HubEnd(wire, context.peer(), node, silence_seconds=silence_seconds), handler)

    if isinstance(credentials, Credentials):
        credentials = credentials.for_listening()
    return LinkServer(
        credentials,
        HUB_LINK,
        grpc.stream_stream_rpc_method_handler(connect, NodeFrame.FromString, HubFrame.SerializeToString),
        MAX_NODES,
    )


async def _handle(link: AnyLink, handler: Callable[[AnyLink], Awaitable[object]]) -> None:
    """Run the handler in a task of its own: a cut link is an error that it can catch, not its cancellation."""
    task = asyncio.ensure_future(_run(link, handler))
    _handling.add(task)
    task.add_done_callback(_handling.discard)
    over = asyncio.ensure_future(link.wait_closed())
    try:
        await asyncio.wait((task, over), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:  # the connection is gone
        link.cut(LinkClosed(f"The connection from {link.address} was cut."))
        raise
    finally:
        over.cancel()
        # Not waited for directly: the call is cancelled when the other end leaves, and the handler is to finish.
        done, _ = await asyncio.wait((task,), timeout=HANDLER_SECONDS)
        if not done:
            task.cancel()


async def _run(link: AnyLink, handler: Callable[[AnyLink], Awaitable[object]]) -> None:
    try:
        await handler(link)
    except LinkError as error:
        logger.info("link.ended", address=link.address, code=error.code, message=error.text)
    except Exception:
        logger.exception("link.handler_failed", address=link.address)
    finally:
        await link.aclose("The handler of this link has ended.")


class _Refusals:
    """Says who was refused, and why; whoever tries again and again does not fill the log."""

    def __init__(self) -> None:
        self._minute = 0
        self._count = 0

    async def tell(self, context: Context, refused: Refused) -> None:
        """Ends the call, with our clock, so that the other end can say how far apart the two are."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            if self._count > REFUSALS_SAID:
                logger.warning("link.refused_often", more=self._count - REFUSALS_SAID)
            self._minute, self._count = minute, 0
        self._count += 1
        if self._count <= REFUSALS_SAID:
            logger.warning("link.refused", address=context.peer(), code=refused.code, message=str(refused))
        await context.abort(refused.status, refused.said, ((CLOCK, str(now_us())),))
