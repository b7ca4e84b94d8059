"""Daphne, with what it lacks: our loop and signals, a listening socket of ours, back-pressure, a clean end."""

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, cast

import structlog
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server, reactor, twisted_loop
from daphne.ws_protocol import WebSocketFactory
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory, IPushProducer
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer  # type: ignore[import-untyped]

from agenthub_site.engines import GRACE_SECONDS, App, Message

logger = structlog.get_logger(__name__)

TICK_SECONDS: Final = 0.02
CLOSE_SECONDS: Final = 20
"""A reader gets so long to take what was sent before the close; after it the connection is reset, and the rest lost."""
SENT_BYTES: Final = 1024 * 1024
"""A WebSocket's message at most, in either direction: autobahn has one bound for both."""


@implementer(ILogObserver)
class _Nowhere:
    """Where Twisted's own log goes; daphne drops it as well."""

    def __call__(self, event: LogEvent) -> None:
        pass


@implementer(IPushProducer)
class Valve:
    """Shut while the transport's buffer is full. Senders wait at it, which daphne does not have them do."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def pauseProducing(self) -> None:
        self._open.clear()

    def resumeProducing(self) -> None:
        self._open.set()

    def stopProducing(self) -> None:
        self._open.set()

    async def passable(self) -> None:
        await self._open.wait()


class _Server(Server):  # type: ignore[misc]
    """Daphne's server, on a running loop instead of its own ``run``."""

    def __init__(self, app: App) -> None:
        super().__init__(app, endpoints=["ours"], signal_handlers=False, server_name="", ping_interval=20)
        self.connections: dict[Any, dict[str, Any]] = {}
        self.http_factory = HTTPFactory(self)
        self.ws_factory = WebSocketFactory(self, server=None)
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            allowNullOrigin=True,
            # It also counts the time until our application accepts, which has a limit of its own, with an answer.
            openHandshakeTimeout=self.websocket_connect_timeout + self.websocket_handshake_timeout,
            closeHandshakeTimeout=CLOSE_SECONDS,
            maxMessagePayloadSize=SENT_BYTES,
            maxFramePayloadSize=SENT_BYTES,
        )

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        """As daphne's, but waits while the client's buffer is full."""
        details = self.connections.get(protocol)
        if details is None or details.get("disconnected"):
            return
        valve = details.get("valve")
        is_last = message["type"] == "http.response.body" and not message.get("more_body")
        if valve is None and _is_streaming(message):
            valve = details["valve"] = Valve()
            _fit(protocol, valve)
        elif is_last and valve and isinstance(protocol, WebRequest):
            protocol.unregisterProducer()
        await super().handle_reply(protocol, message)
        if valve and not is_last:
            await valve.passable()

    def protocol_disconnected(self, protocol: Any) -> None:
        details = self.connections.get(protocol)
        if details is None:
            return  # it was reaped already: closed twice, by us and by its client
        super().protocol_disconnected(protocol)
        if valve := details.get("valve"):
            valve.stopProducing()

    @property
    def tasks(self) -> list["asyncio.Future[None]"]:
        """The applications that are not over."""
        found = [details.get("application_instance") for details in self.connections.values()]
        return [cast("asyncio.Future[None]", task) for task in found if task and not task.done()]


def _is_streaming(message: Message) -> bool:
    return message["type"] == "websocket.send" or bool(
        message["type"] == "http.response.body" and message.get("more_body")
    )


def _fit(protocol: Any, valve: Valve) -> None:
    """Have the transport tell the valve when its buffer is full."""
    if isinstance(protocol, WebRequest):
        protocol.registerProducer(valve, True)
    else:  # a WebSocket: its HTTP channel is still registered, and has nothing left to produce
        protocol.transport.unregisterProducer()
        protocol.transport.registerProducer(valve, True)


@implementer(IOpenSSLContextFactory)
class _TlsContext:
    """TLS 1.2 and up, with the whole chain in ``certificate``, as uvicorn's."""

    def __init__(self, certificate: str, key: str) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.set_min_proto_version(SSL.TLS1_2_VERSION)
        self._context.use_certificate_chain_file(certificate)
        self._context.use_privatekey_file(key)

    def getContext(self) -> SSL.Context:
        return self._context


class DaphneEngine:
    """The embedded default."""

    def __init__(self) -> None:
        self._server: _Server | None = None
        self._port: Any = None

    def run(self, main: Coroutine[Any, Any, int]) -> int:
        globalLogBeginner.beginLoggingTo([cast("Any", _Nowhere())], redirectStandardIO=False, discardBuffer=True)
        asyncio.set_event_loop(twisted_loop)
        task: asyncio.Task[int] = twisted_loop.create_task(main, name="web")
        task.add_done_callback(lambda _: reactor.stop() if reactor.running else None)
        reactor.run(installSignalHandlers=False)
        try:
            _finish(twisted_loop)
        finally:
            asyncio.set_event_loop(None)
            twisted_loop.close()
        return task.result()

    async def start(self, app: App, listener: socket.socket, tls: tuple[str, str] | None) -> None:
        self._server = _Server(app)
        factory: Any = self._server.http_factory
        if tls:
            factory = TLSMemoryBIOFactory(cast("Any", _TlsContext(*tls)), False, factory)
        listener.setblocking(False)
        self._port = reactor.adoptStreamPort(listener.fileno(), listener.family, factory)
        listener.close()  # Twisted has its own copy of the descriptor
        reactor.callLater(1, self._server.application_checker)
        reactor.callLater(2, self._server.timeout_checker)

    async def stop_accepting(self) -> None:
        if self._port:
            stopped = self._port.stopListening()
            self._port = None
            if stopped is not None:
                await stopped.asFuture(asyncio.get_running_loop())

    async def stop(self) -> None:
        """Requests get their grace; then applications are cancelled and connections closed."""
        if self._server is None:
            return
        await self.stop_accepting()
        if tasks := self._server.tasks:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        for task in (late := self._server.tasks):
            task.cancel()
        if late:
            logger.warning("web.requests_cut", count=len(late))
            await asyncio.wait(late, timeout=1)
        await asyncio.sleep(TICK_SECONDS)  # one turn of the reactor, for what was written last
        for protocol in list(self._server.connections):
            with suppress(AttributeError):
                protocol.transport.abortConnection()


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """What ``asyncio.run`` does at its end. Left to the interpreter's exit, half-dead generators crashed it."""
    left = [task for task in asyncio.all_tasks(loop) if not task.done()]
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=2))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(asyncio.wait_for(loop.shutdown_default_executor(), 2))
