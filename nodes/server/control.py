"""Between a node server and a run's supervisor: JSON lines over the run's ``control.sock``, version 1.

The supervisor says ``hello``, then ``spooled`` whenever records can be read, ``applied``
for each command, ``pong`` for each ``ping``, and ``ended`` last. The node server sends ``command``,
``acked``, ``hold``, ``ping``, and ``link`` where the hello asks for it. Either side ignores messages
and fields that a newer version added.

Nobody who belongs to a run is served: an agent that could speak here would answer its own
questions. Of all others the newest is, as that is the node server that took over.
"""

import asyncio
import contextlib
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import structlog

from nodes.contract.errors import Unavailable
from nodes.contract.limits import PROMPT_BYTES

from . import proc, unixsocket
from .commandlog import Accepted
from .spool import Position

logger = structlog.get_logger(__name__)

VERSION = 1
LINE_BYTES = 8 * PROMPT_BYTES
"""A message at most: a prompt whose every byte is escaped fits."""
QUEUE_MESSAGES = 1_000
"""Answers that wait for one slow reader at most; then its connection is closed, and it reads the files instead."""
SEND_SECONDS = 5.0
"""How long a supervisor may take to read what it is told."""
CLIENTS = 8
"""Connections at once at most; one more takes the place of the oldest."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """Everything up to here can be read."""

    segment: int
    offset: int
    origin_seq: int

    @property
    def position(self) -> Position:
        return Position(self.segment, self.offset)


@dataclass(frozen=True, slots=True)
class Hello:
    """Whom we speak to, and how far its spool is."""

    run: str
    pid: int
    generation: int
    spooled: Spooled
    pings: bool = True
    """Whether it answers pings; supervisors of earlier versions do not."""
    asks_link: bool = False
    """Whether it wants to know if the hub is there."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A command was dealt with; ``code`` is empty, or says what became of it instead (``expired``, …)."""

    id: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The ending record is in the spool and synced. The supervisor leaves."""

    origin_seq: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The supervisor lives and its loop turns."""


Message = Spooled | Applied | Ended | Pong
_TYPES: dict[str, type[Spooled] | type[Applied] | type[Ended] | type[Pong]] = {
    "spooled": Spooled,
    "applied": Applied,
    "ended": Ended,
    "pong": Pong,
}


class NoSupervisor(Unavailable):
    """Nobody answers at the run's socket, or the connection broke: look at the lock, then try again."""

    code = "no_supervisor"
    message = "The run's supervisor does not answer."


def _line(type_: str, **fields: Any) -> bytes:
    return json.dumps({"type": type_, **fields}).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    """A message; None for what is none."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and isinstance(message.get("type"), str) else None


class _Connection:
    """One node server, as the supervisor sees it: answers in order, announcements as the latest only."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.tells_link = False
        """Whether it has said if the hub is there. Node servers of earlier versions do not."""
        self._answers = deque[bytes]()
        self._spooled: Spooled | None = None
        self._ended: bytes = b""
        self._wake = asyncio.Event()
        self.is_idle = asyncio.Event()
        self.is_idle.set()

    def announce(self, spooled: Spooled) -> None:
        self._spooled = spooled
        self._rouse()

    def answer(self, line: bytes) -> None:
        if len(self._answers) >= QUEUE_MESSAGES:
            self.cut()
            return
        self._answers.append(line)
        self._rouse()

    def end(self, line: bytes) -> None:
        self._ended = line
        self._rouse()

    async def write(self) -> None:
        """Until cancelled or the connection breaks."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            lines = [*self._answers]
            self._answers.clear()
            if self._spooled:
                lines.append(_line("spooled", **asdict(self._spooled)))
                self._spooled = None
            lines.append(self._ended)
            self._ended = b""
            self._writer.write(b"".join(lines))
            await self._writer.drain()
            if not self._wake.is_set():
                self.is_idle.set()

    def cut(self) -> None:
        """Drop it at once: its reader sees the end, and its place is free."""
        self._writer.transport.abort()

    def _rouse(self) -> None:
        self.is_idle.clear()
        self._wake.set()


class ControlServer:
    """The supervisor's side. Its callbacks run on the loop and must not block."""

    def __init__(
        self,
        hello: Callable[[], Hello],
        command: Callable[[Accepted], None],
        acked: Callable[[int], None],
        held: Callable[[bool], None],
        linked: Callable[[bool], None],
    ) -> None:
        self._hello = hello
        self._command = command
        self._acked = acked
        self._held = held
        self._linked = linked
        self._connections: dict[_Connection, None] = {}  # in the order they came
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._ended = b""

    async def start(self, path: Path) -> None:
        self._server = await asyncio.start_unix_server(self._serve, sock=unixsocket.listen(path), limit=LINE_BYTES)

    def announce(self, spooled: Spooled) -> None:
        for connection in self._connections:
            connection.announce(spooled)

    def applied(self, id_: str, code: str = "") -> None:
        for connection in self._connections:
            connection.answer(_line("applied", id=id_, code=code))

    async def ended(self, origin_seq: int, timeout: float = 2.0) -> None:
        """Say it to all, those who come late included, and wait a little for it to be on its way."""
        self._ended = _line("ended", origin_seq=origin_seq)
        for connection in self._connections:
            connection.end(self._ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for connection in list(self._connections):
                    await connection.is_idle.wait()

    async def aclose(self) -> None:
        """Close the socket and every connection."""
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        peer = unixsocket.peer_of(writer.get_extra_info("socket"))
        if peer is not None and _is_of_a_run(peer):
            logger.warning("control.refused", peer=peer)
            writer.transport.abort()
            return
        if len(self._connections) >= CLIENTS:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.cut()
        connection = _Connection(writer)
        hello = self._hello()
        writer.write(_line("hello", version=VERSION, **asdict(hello)) + self._ended)
        self._connections[connection] = None
        tasks = {asyncio.create_task(connection.write()), asyncio.create_task(self._read(reader, connection))}
        self._tasks |= tasks
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self._connections.pop(connection, None)
        if not self._connections:
            self._linked(False)
        connection.is_idle.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks -= tasks
        writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        try:
            while line := await reader.readline():
                self._take(_parse(line), connection)
        except ValueError:
            logger.warning("control.line_too_long", limit=LINE_BYTES)

    def _take(self, message: dict[str, Any] | None, connection: _Connection) -> None:
        match message:
            case {"type": "ping"}:
                if not connection.tells_link:
                    self._linked(True)
                connection.answer(_line("pong"))
            case {"type": "link", "is_up": bool(is_up)}:
                connection.tells_link = True
                self._linked(is_up)
            case {"type": "command", "id": str(id_), "kind": str(kind), "body": dict(body)}:
                self._command(Accepted(id_, kind, body))
            case {"type": "acked", "origin_seq": int(origin_seq)}:
                self._acked(origin_seq)
            case {"type": "hold", "is_held": bool(is_held)}:
                self._held(is_held)
            case _:
                logger.warning("control.unknown_message", type=message and message["type"])


def _is_of_a_run(pid: int) -> bool:
    """Whether a process belongs to this supervisor's run, or by itself or an ancestor to another one.

    A node server that was started within a run, as when an agent works on AgentHub itself, shares
    that run's marker with its supervisors: theirs it may speak to.
    """
    ours = os.environ.get(proc.RUN_MARKER, "")
    seen: set[int] = set()
    while pid > 1 and pid not in seen:
        if pid == os.getpid():
            return bool(seen)  # not itself, but what it started
        if proc.marker_of(pid) not in ("", ours):
            return True
        seen.add(pid)
        stat = proc.stat_of(pid)
        if stat is None:
            return False
        pid = stat.parent
    return False


class SupervisorClient:
    """The node server's side: ``async for message in client`` until the supervisor leaves."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: Hello) -> None:
        self._reader = reader
        self._writer = writer
        self.hello = hello

    @classmethod
    async def connect(cls, path: Path, timeout: float = 5.0) -> Self:
        """Connect to a run's ``control.sock`` and hear its hello. Raises ``NoSupervisor``."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(timeout):
                connected = unixsocket.connect(path)
                connected.setblocking(False)
                reader, writer = await asyncio.open_unix_connection(sock=connected, limit=LINE_BYTES)
                message = _parse(await reader.readline()) or {}
        except (OSError, ValueError) as error:  # a time-out is an OSError
            if writer:
                writer.close()
            raise NoSupervisor(f"The supervisor at {path.parent.name} does not answer: {error}") from error
        except asyncio.CancelledError:
            if writer:
                writer.close()
            raise
        match message:
            case {"type": "hello", "run": str(run), "pid": int(pid), "generation": int(number), "spooled": dict(at)}:
                spooled = Spooled(at["segment"], at["offset"], at["origin_seq"])
                pings, asks_link = message.get("pings") is True, message.get("asks_link") is True
                return cls(reader, writer, Hello(run, pid, number, spooled, pings, asks_link))
        writer.close()
        raise NoSupervisor(f"The supervisor at {path.parent.name} closed the connection, or speaks another protocol.")

    async def send_command(self, command: Accepted) -> None:
        """Hand on a command that is already in the command log. Sending one twice is harmless."""
        await self._send(_line("command", id=command.id, kind=command.kind, body=command.body))

    async def send_acked(self, origin_seq: int) -> None:
        """The hub has committed everything up to here: room in the spool."""
        await self._send(_line("acked", origin_seq=origin_seq))

    async def send_hold(self, is_held: bool) -> None:
        """The spools of all runs together are at their bound, or no longer: the agent waits meanwhile."""
        await self._send(_line("hold", is_held=is_held))

    async def send_link(self, is_up: bool) -> None:
        """Whether the hub is there, as far as this node server knows."""
        await self._send(_line("link", is_up=is_up))

    async def send_ping(self) -> None:
        """Ask for a sign of life."""
        await self._send(_line("ping"))

    async def _send(self, line: bytes) -> None:
        try:
            self._writer.write(line)
            async with asyncio.timeout(SEND_SECONDS):
                await self._writer.drain()
        except (OSError, RuntimeError) as error:  # a time-out is an OSError
            self._writer.transport.abort()
            raise NoSupervisor() from error

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Messages in order; ends when the connection does. Unknown ones are left out."""
        while True:
            try:
                line = await self._reader.readline()
            except (OSError, ValueError):
                return
            if not line:
                return
            message = _parse(line)
            if message and (kind := _TYPES.get(message.pop("type"))):
                yield kind(**{name: message[name] for name in kind.__slots__})

    async def aclose(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
