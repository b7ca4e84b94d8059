"""The web process: HTTP and WebSockets by daphne or uvicorn, the operator's socket, and the control plane.

All on one event loop, started and stopped here in a written order.
"""

import argparse
import asyncio
import contextlib
import errno
import gc
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from agenthub_site.engines import Engine, check_tls, engine_named
from agenthub_site.file_limit import raise_file_limit
from agenthub_site.homelock import share_home
from integrations.cli.parsers import Parser
from nodes.contract.config import Config
from nodes.contract.errors import ConfigError

if TYPE_CHECKING:
    from agenthub_site.controlplane import Controlplane

logger = structlog.get_logger(__name__)

STOP_SECONDS: Final = 9.0
"""All steps of stopping together; each has its own bound within it."""
CONTROLPLANE_STOP_SECONDS: Final = 4.0
OPERATOR_STOP_SECONDS: Final = 1.0
READERS_STOP_SECONDS: Final = 1.0
MCP_STOP_SECONDS: Final = 1.0
REFUSALS_SECONDS: Final = 10.0
BACKLOG: Final = 1024
HIGHEST_PORT: Final = 65_535


class CannotListen(ConfigError):
    """The address is taken or not ours. The message says so in one line, and what to do."""

    code = "cannot_listen"


def parse(argv: Sequence[str], config: Config) -> argparse.Namespace:
    parser = Parser("agenthub web", description=__doc__)
    parser.add_argument("--listen", default=config.server.listen, help="host:port; port 0 picks a free one")
    parser.add_argument("--engine", choices=("daphne", "uvicorn"), default=config.server.engine)
    parser.add_argument(
        "--no-controlplane", action="store_true", help="serve only: links, scheduler and ingest run elsewhere"
    )
    parser.add_argument("--ready-fd", type=int, metavar="N", help="write the URL to this descriptor when ready")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop. Raises ``HomeTaken``, ``ConfigError``."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenthub_site.settings")
    import django

    django.setup()
    from django.conf import settings

    config: Config = settings.CONFIG
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns where there is none
    options = parse(argv, config)
    raise_file_limit()
    engine = engine_named(options.engine)
    spare_garbage()
    with share_home(config.home, "web server"):
        tls = check_certificate(config)
        with listen(options.listen) as listener:
            return engine.run(Web(config, engine, listener, tls, options).run())


def spare_garbage() -> None:
    """Have Python look for garbage among new objects only, and less often.

    What is loaded by now stays for good; walking all of it again and again takes a tenth of a busy hub's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def listen(address: str) -> socket.socket:
    """A listening TCP socket. Raises ``CannotListen``."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and int(port) <= HIGHEST_PORT):  # the resolver takes a number modulo 65536
        raise CannotListen(
            f"--listen must be host:port, such as 127.0.0.1:8080 (port 0 picks a free one): {address!r}."
        )
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, target = found[0]
        # Python sets SO_REUSEADDR itself: a restart need not wait for old connections, a live listener still wins.
        return socket.create_server(target[:2], family=family, backlog=BACKLOG)
    except (OSError, ValueError) as error:
        reason = {
            errno.EADDRINUSE: "another program listens there",
            errno.EACCES: "this account may not listen there",
        }.get(getattr(error, "errno", 0) or 0, str(error))
        raise CannotListen(
            f"Cannot listen on {address}: {reason}. Set another with [server] listen in config.toml, "
            "or AGENTHUB_SERVER__LISTEN=127.0.0.1:0 for any free one.",
            address=address,
        ) from error


def check_certificate(config: Config) -> tuple[str, str] | None:
    """Certificate and key to serve with, or None. Raises ``ConfigError`` that names what is wrong with which."""
    certificate, key = config.server.tls_cert, config.server.tls_key
    if not certificate and not key:
        return None
    if not (certificate and key):
        raise ConfigError("server.tls_cert and server.tls_key go together: set both, or neither.")
    for name, path in (("tls_cert", certificate), ("tls_key", key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"server.{name}: {path} cannot be read ({error.strerror}).") from error
    try:
        check_tls(certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"server.tls_key: {key} is not the key of the certificate {certificate}.") from error
        raise ConfigError(
            f"server.tls_cert and server.tls_key: {certificate} and {key} must be a certificate (with its chain) and "
            f"its key without a passphrase, both in PEM ({error.reason or 'not PEM'})."
        ) from error
    return certificate, key


class Web:
    """Everything in the process, started in order, stopped in a written order. Made after Django is set up."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        listener: socket.socket,
        tls: tuple[str, str] | None,
        options: argparse.Namespace,
    ) -> None:
        from agenthub_site import asgi
        from agenthub_site.operator_socket import OperatorSocket, audit_refusal

        host, port = listener.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self._config = config
        self._engine = engine
        self._listener = listener
        self._tls = tls
        self._ready_fd: int | None = options.ready_fd
        self._controlplane = None if options.no_controlplane else _make_controlplane(config)
        self._application = asgi.application
        self._operator = OperatorSocket(config.operator_socket, asgi.dispatch, audit_refusal)
        self._stop_asked = asyncio.Event()
        self._counting: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Start, serve until a signal, stop."""
        from agenthub_site import health
        from agents.reading import counters
        from audit.bell import bell

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_asked.set)
        try:
            await bell.start(home=self._config.home, redis_url=self._config.redis.url, counters=counters)
            health.register("bell", bell.problem)
            if self._controlplane:
                await self._controlplane.start()
            await self._operator.start()
            await self._engine.start(self._application, self._listener, self._tls)
            self._counting = asyncio.create_task(_write_refusals(), name="refusals")
            self._announce()
            await self._stop_asked.wait()
        finally:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._stop()
            except TimeoutError:
                logger.warning("web.stop_timed_out", seconds=STOP_SECONDS)
        return 0

    async def _stop(self) -> None:
        """Stop accepting; end the live readers; then links, sockets, and last the bell."""
        from agenthub_site import mcp_door
        from audit.bell import bell

        logger.info("web.stopping")
        await self._engine.stop_accepting()
        await self._operator.stop_accepting()
        bell.close()
        if self._controlplane:
            await _within(CONTROLPLANE_STOP_SECONDS, self._controlplane.stop(), "controlplane")
        await _within(READERS_STOP_SECONDS, _readers_left(), "readers")
        await asyncio.gather(self._engine.stop(), self._operator.stop(OPERATOR_STOP_SECONDS))
        await _within(MCP_STOP_SECONDS, mcp_door.door.stop(), "mcp")
        if self._counting:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)
        await bell.stop()
        with contextlib.suppress(FileNotFoundError):
            (self._config.home / "address").unlink()
        logger.info("web.stopped")

    def _announce(self) -> None:
        """Say where we listen: in ``<home>/address``, on the log, and to whoever waits on ``--ready-fd``."""
        new = self._config.home / f".address-{os.getpid()}"
        new.write_text(self.address, "utf-8")
        new.replace(self._config.home / "address")
        logger.info("web.listening", url=self.url)
        if self._ready_fd is not None:
            with contextlib.suppress(OSError):  # whoever waited has left
                os.write(self._ready_fd, f"{self.url}\n".encode())
                os.close(self._ready_fd)


async def _readers_left() -> None:
    """Once the bell is closed open streams end by themselves, and say why; the engine would just cut them."""
    from agenthub_site.hot import counted

    while counted.total:  # noqa: ASYNC110  (for a moment, once)
        await asyncio.sleep(0.02)


async def _write_refusals() -> None:
    """What was refused again and again is counted, and written when its minute is over; the last at the end."""
    from audit.refusals import flush_in_thread

    try:
        while True:
            await asyncio.sleep(REFUSALS_SECONDS)
            await asyncio.to_thread(flush_in_thread)
    finally:
        await asyncio.to_thread(flush_in_thread, force=True)


def _make_controlplane(config: Config) -> "Controlplane":
    from agenthub_site import health
    from agenthub_site.controlplane import Controlplane

    controlplane = Controlplane(config)

    def check() -> str:
        return "" if controlplane.state["is_running"] else "The control plane does not run."

    health.register("controlplane", check)
    return controlplane


async def _within(seconds: float, step: Awaitable[object], name: str) -> None:
    try:
        async with asyncio.timeout(seconds):
            await step
    except TimeoutError:
        logger.warning("web.stop_timed_out", part=name, seconds=seconds)
