"""``agenthub actor`` within a run: a Unix socket of the node, and the hub behind it.

An agent shows the token of its own run, which is good while the run lives and for nothing else. A call that the link
was lost under is asked again on the next one, as it is: what must be done once has a key in its body, by which the hub
knows it again.
"""

import asyncio
import contextlib
import hmac
import json
import secrets
from pathlib import Path
from typing import Any, Final

import structlog

from nodes.contract.errors import Forbidden, HubError, Invalid, OutcomeUnknown, TooLarge, Unavailable
from nodes.contract.limits import CHUNK_BYTES
from nodes.link.errors import LinkError
from nodes.link.link import NodeEnd
from nodes.pb import link_pb2 as pb

from . import unixsocket
from .actor_calls import OPEN_DIR, OPEN_SOCKET, socket_in, write_launcher
from .holding import HeldRuns

logger = structlog.get_logger(__name__)

LINE_BYTES: Final = CHUNK_BYTES + 4096
ANSWER_BYTES: Final = 8 * 1024 * 1024
CALL_SECONDS: Final = 50.0
"""For a call in all, with the wait for a link that is away."""
RUN_CALLS: Final = 16
"""Connections of one run, each with a call at a time: the others are not to wait for it."""
STRANGERS: Final = 64
"""Connections that have shown no token yet. The oldest makes room for a new one, so that nobody keeps others out."""
TOKEN_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 60.0


class BadRunToken(Forbidden):
    code = "bad_run_token"
    message = "This token is not of a live run on this node."


class Busy(Unavailable):
    """Not asked at all: to be asked again in a moment."""

    code = "busy"
    message = "This node has too many connections of agents at present; try again in a moment."


class ActorDoor:
    """Listens in ``<node>/actor/``, a directory of its own, which a masked agent sees as it is."""

    def __init__(self, directory: Path, runs: HeldRuns) -> None:
        self._directory = directory
        self._runs = runs
        self._link: NodeEnd | None = None
        self._linked = asyncio.Event()
        self._waiting: dict[str, _Call] = {}
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], str] = {}
        """Each with the run whose token it has shown; empty before."""

    async def start(self) -> None:
        # Open to whoever gets there: an agent that is another user. What lies above it lets nobody else in.
        self._directory.mkdir(exist_ok=True)
        self._directory.chmod(OPEN_DIR)
        write_launcher(self._directory)
        listener = unixsocket.listen(socket_in(self._directory))
        socket_in(self._directory).chmod(OPEN_SOCKET)
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=LINE_BYTES)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def linked(self, link: NodeEnd) -> None:
        """The hub is there."""
        self._link = link
        self._linked.set()

    def unlinked(self, link: NodeEnd) -> None:
        """That link is over: what was asked over it is asked again."""
        if self._link is link:
            self._link = None
            self._linked.clear()
            for call in self._waiting.values():
                call.fail(LinkError("The link to the hub was lost."))

    def answered(self, answer: pb.ActorAnswer) -> None:
        """A part of an answer has come."""
        call = self._waiting.get(answer.id)
        if call is not None:
            call.take(answer.data, more=answer.more)

    async def ask(self, run_id: str, verb: str, body: bytes) -> bytes:
        """The hub's answer, as it came. ``Unavailable`` where it was never asked, ``OutcomeUnknown`` where it was."""
        was_linked = False
        try:
            async with asyncio.timeout(CALL_SECONDS):
                while True:
                    await self._linked.wait()
                    was_linked = True
                    with contextlib.suppress(LinkError):
                        return await self._ask_once(run_id, verb, body)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            if was_linked:
                raise OutcomeUnknown from None
            raise Unavailable("This node has no connection to its hub at present; try again.") from None

    async def _ask_once(self, run_id: str, verb: str, body: bytes) -> bytes:
        link = self._link
        if link is None:
            raise LinkError("There is no link to the hub.")
        call, key = _Call(), secrets.token_hex(8)
        self._waiting[key] = call
        try:
            asked = pb.ActorCall(id=key, run_id=run_id, verb=verb, body=body)
            await link.send(pb.NodeFrame(actor_call=asked))
            return await call.done
        finally:
            del self._waiting[key]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._make_room()
        self._connections[task] = ""
        try:
            while line := await self._read(reader, IDLE_SECONDS if self._connections[task] else TOKEN_SECONDS):
                writer.write(await self._answer(line, task))
                async with asyncio.timeout(IDLE_SECONDS):
                    await writer.drain()
        except TimeoutError:
            if self._connections[task]:
                writer.transport.abort()  # it may be one that does not read what it asked for
            else:
                writer.write(_refusal(BadRunToken(f"No token was shown within {TOKEN_SECONDS:g} s.")))
        except asyncio.CancelledError as error:
            if error.args:  # to make room; else this node server ends, and the next one is asked
                writer.write(_refusal(Busy()))
        except OSError:
            pass  # who asked has left
        finally:
            del self._connections[task]
            writer.close()

    def _make_room(self) -> None:
        strangers = [task for task, run_id in self._connections.items() if not run_id and not task.cancelling()]
        if len(strangers) >= STRANGERS:
            strangers[0].cancel("It makes room.")

    async def _read(self, reader: asyncio.StreamReader, seconds: float) -> bytes:
        async with asyncio.timeout(seconds):
            try:
                return await reader.readline()
            except ValueError:  # longer than a line may be
                return b"\x00"

    async def _answer(self, line: bytes, task: asyncio.Task[None]) -> bytes:
        try:
            run_id, verb, body = self._read_call(line)
            self._admit(task, run_id)
            return await self.ask(run_id, verb, body) + b"\n"
        except HubError as error:
            return _refusal(error)

    def _admit(self, task: asyncio.Task[None], run_id: str) -> None:
        """The connection has shown this run's token. Raises ``Busy`` if the run has too many of them."""
        others = sum(shown == run_id for other, shown in self._connections.items() if other is not task)
        if others >= RUN_CALLS:
            raise Busy(f"This run has {RUN_CALLS} connections, and no more at once; try again in a moment.")
        self._connections[task] = run_id

    def _read_call(self, line: bytes) -> tuple[str, str, bytes]:
        """(run, verb, body) of a call whose token is right. Raises ``Invalid``, ``TooLarge``, ``BadRunToken``."""
        if line == b"\x00":
            raise TooLarge(f"A call has at most {LINE_BYTES} bytes.", limit_bytes=LINE_BYTES)
        try:
            asked: Any = json.loads(line)
            run_id, token, verb = (str(asked[name]) for name in ("run_id", "token", "verb"))
            body = json.dumps(asked.get("body", {}), ensure_ascii=False, separators=(",", ":")).encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Invalid('Send {"run_id", "token", "verb", "body"} as one line of JSON.') from None
        run = self._runs.get(run_id)
        held = run.dir.actor_token() if run is not None and run.is_live else ""
        if not held or not hmac.compare_digest(held.encode(), token.encode()):
            raise BadRunToken
        if len(body) > CHUNK_BYTES:
            raise TooLarge(f"A call's body has at most {CHUNK_BYTES} bytes.", limit_bytes=CHUNK_BYTES)
        return run_id, verb[:64], body


def _refusal(error: HubError) -> bytes:
    return json.dumps(error.as_json()).encode() + b"\n"


class _Call:
    """An answer on its way, part by part."""

    def __init__(self) -> None:
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._data = bytearray()

    def take(self, data: bytes, *, more: bool) -> None:
        self._data += data
        if self.done.done():
            return
        if len(self._data) > ANSWER_BYTES:
            self.done.set_exception(TooLarge("The hub's answer is longer than this node takes; ask for less."))
        elif not more:
            self.done.set_result(bytes(self._data))

    def fail(self, error: HubError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
