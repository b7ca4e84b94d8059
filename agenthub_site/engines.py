"""The two ASGI servers, each started and stopped by us on a loop of ours: ``daphne`` (default) and ``uvicorn``.

Neither's own ``main`` is used. Daphne knows no lifespan, and crashed on SIGTERM with an
open stream; uvicorn raises the signal again before its caller could clean up. Here the
loop, the signals and the order of stopping are ``agenthub_site.web``'s.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import nullcontext, suppress
from typing import Any, Final, Protocol

import structlog

logger = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

GRACE_SECONDS: Final = 2.0
"""How long requests under way may take when the server stops."""
SOCKET_MESSAGE_BYTES: Final = 64 * 1024
"""A message from a WebSocket's client at most: readers have little to say."""


class Engine(Protocol):
    """A server that takes its listening socket from us."""

    def run(self, main: Coroutine[Any, Any, int]) -> int:
        """Run ``main`` to its end on the engine's loop, then clean up; its result."""

    async def start(self, app: App, listener: socket.socket, tls: tuple[str, str] | None) -> None:
        """Begin to accept, with TLS by (certificate, key) if given."""

    async def stop_accepting(self) -> None: ...

    async def stop(self) -> None:
        """Let requests under way end, at most ``GRACE_SECONDS``, then drop them."""


def engine_named(name: str) -> Engine:
    if name == "uvicorn":
        return UvicornEngine()
    from agenthub_site.daphne_engine import DaphneEngine

    return DaphneEngine()


class UvicornEngine:
    """Several times as fast on what does not go through Django's request stack."""

    def __init__(self) -> None:
        self._server: Any = None
        self._serving: asyncio.Task[None] | None = None

    def run(self, main: Coroutine[Any, Any, int]) -> int:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)

    async def start(self, app: App, listener: socket.socket, tls: tuple[str, str] | None) -> None:
        import uvicorn

        started = asyncio.Event()

        class Server(uvicorn.Server):
            def capture_signals(self) -> Any:
                return nullcontext()

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                started.set()

        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws_max_size=SOCKET_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=64 * 1024,
            timeout_graceful_shutdown=int(GRACE_SECONDS),
            ssl_certfile=tls[0] if tls else None,
            ssl_keyfile=tls[1] if tls else None,
        )
        self._server = Server(config)
        self._serving = asyncio.create_task(self._server.serve([listener]), name="uvicorn")
        starting = asyncio.create_task(started.wait())
        await asyncio.wait([starting, self._serving], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await self._serving  # raises why it did not start

    async def stop_accepting(self) -> None:
        for server in self._server.servers:
            server.close()

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._serving:
            done, _ = await asyncio.wait([self._serving], timeout=GRACE_SECONDS + 1)
            if not done:
                self._serving.cancel()
                with suppress(asyncio.CancelledError):
                    await self._serving


def check_tls(certificate: str, key: str) -> None:
    """Raise ``OSError`` or ``ssl.SSLError`` for a pair that cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key, password="")  # a key with a passphrase would ask for it on the terminal
