"""Between an agent's pipe and the SDK: only messages that are JSON-RPC come through.

It is a ``Transport`` of the SDK (``receive``, ``send``, ``close``). Whatever an agent
writes, it neither ends the run nor fills the memory: what does not fit is left out and
reported, bounded in size and in number.
"""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import structlog

from nodes.contract.events import ValidationFailed
from nodes.contract.limits import EXCERPT_CHARS, LINE_BYTES
from nodes.contract.runtime import AgentProcess

logger = structlog.get_logger(__name__)

READ_BYTES = 64 * 1024
DRAIN_SECONDS = 0.5
"""After the process has ended: how long its pipe may be quiet before it counts as closed. Children may hold it."""
DRAIN_TOTAL_SECONDS = 5.0
"""After the process has ended: how long its pipe is read at most."""
OPEN_REQUESTS = 64
"""Requests of the agent that may wait for our answer at once; then its pipe is not read until one is given."""
REPORTED_EACH = 50
"""So many faults are reported one by one; after that, one for each doubling."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

Message = dict[str, Any]


class Faults:
    """Reports what does not fit the protocol. A flood becomes few events, which carry its size."""

    def __init__(self, emit: Callable[[ValidationFailed], None], source: str = "acp") -> None:
        self._emit = emit
        self._source = source
        self._dropped = 0
        self.count = 0

    def report(self, error: str, excerpt: str = "", dropped_bytes: int = 0) -> None:
        self.count += 1
        self._dropped += dropped_bytes
        if self.count > REPORTED_EACH:
            if self.count & (self.count - 1):
                return
            error = f"{error} (fault {self.count:,} of this run; most are no longer reported one by one)"
        dropped, self._dropped = self._dropped, 0
        self._emit(
            ValidationFailed(
                source=self._source,
                error=printable(error[:EXCERPT_CHARS]),
                excerpt=printable(excerpt[:EXCERPT_CHARS]),
                dropped_bytes=dropped,
            )
        )


class Lines:
    """The SDK's transport over an agent's pipes."""

    def __init__(self, process: AgentProcess, faults: Faults, limit: int = LINE_BYTES) -> None:
        self._process = process
        self._faults = faults
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0
        self._dropping = 0
        self._excerpt = ""
        self._is_at_end = False
        self._drain_until: float | None = None
        self._open: set[str | int] = set()
        self._may_read = asyncio.Event()
        self._may_read.set()
        process.exited.add_done_callback(lambda _: self._may_read.set())

    # What the SDK calls.

    async def receive(self) -> Message | None:
        """The next message, or None at the end. Waits while too many of the agent's requests are unanswered."""
        while True:
            await self._may_read.wait()
            line = await self._line()
            if line is None:
                return None
            message = self._parse(line)
            if message is None:
                continue
            if "method" in message and "id" in message:
                self._open.add(message["id"])
                if len(self._open) >= OPEN_REQUESTS and not self._process.exited.done():
                    self._may_read.clear()
            return message

    async def send(self, message: Message) -> None:
        """Write one message. ``ConnectionError`` if a request cannot be delivered; an answer to the dead is dropped."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:  # RuntimeError: the loop's transport is closed already
            if "method" in message:
                raise ConnectionError("The agent no longer reads") from error
            logger.debug("answer_undelivered", error=str(error))
        finally:
            if "method" not in message:
                self._open.discard(message["id"])
                self._may_read.set()

    async def close(self) -> None:
        """Nothing to do: the pipes belong to the process."""

    def _report(self, error: str, excerpt: str = "", dropped_bytes: int = 0) -> None:
        """Not at once but after what came before it, which the SDK handles in tasks not begun yet."""
        asyncio.get_running_loop().call_soon(self._faults.report, error, excerpt, dropped_bytes)

    # Bytes to lines.

    async def _line(self) -> bytes | None:
        while True:
            end = self._buffer.find(b"\n", self._scanned)
            if end >= 0:
                line = self._take(end)
                if self._dropping or end > self._limit:
                    self._drop(line, is_whole=True)
                    continue
                return line
            self._scanned = len(self._buffer)
            if self._dropping or self._scanned > self._limit:
                self._drop(bytes(self._buffer), is_whole=False)
                self._buffer.clear()
                self._scanned = 0
            if self._is_at_end:
                return self._rest()
            data = await self._read()
            self._is_at_end = not data
            self._buffer += data

    def _take(self, end: int) -> bytes:
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    def _rest(self) -> bytes | None:
        """What came after the last line's end, once; then None."""
        if self._dropping:
            self._drop(b"", is_whole=True)
        line = self._take(len(self._buffer))
        return line or None

    def _drop(self, part: bytes, *, is_whole: bool) -> None:
        if not self._dropping:
            self._excerpt = part[: EXCERPT_CHARS * 4].decode("utf-8", "replace")
        self._dropping += len(part)
        if is_whole:
            error = f"A line of {self._dropping:,} bytes; at most {self._limit:,} are allowed"
            self._report(error, self._excerpt, self._dropping)
            self._dropping = 0

    async def _read(self) -> bytes:
        """Some bytes, or none at the end. A process that has ended ends its pipe too, soon, whoever holds it."""
        reading = asyncio.ensure_future(self._process.stdout.read(READ_BYTES))
        try:
            if not self._process.exited.done():
                either: set[asyncio.Future[Any]] = {reading, self._process.exited}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await asyncio.wait({reading}, timeout=self._drain_seconds())
            if reading.done():
                return reading.result()
            return b""
        except ConnectionError:
            return b""
        finally:
            if not reading.done():
                reading.cancel()

    def _drain_seconds(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._drain_until is None:
            self._drain_until = now + DRAIN_TOTAL_SECONDS
        return max(0.0, min(DRAIN_SECONDS, self._drain_until - now))

    # Lines to messages.

    def _parse(self, line: bytes) -> Message | None:
        if not line.strip():
            return None
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            text = line.decode("utf-8", "replace")
            self._report(f"Invalid UTF-8 at byte {error.start} of a line; it was replaced", text)
        try:
            message = json.loads(text)
            if _ESCAPED_SURROGATE.search(line):
                message = _without_surrogates(message)
        except (ValueError, RecursionError) as error:
            self._report(f"A line that is not JSON: {error}", text, len(line))
            return None
        fault = _fault_of(message)
        if fault:
            self._report(fault, text, len(line))
            return None
        return message  # type: ignore[no-any-return]


def _fault_of(message: Any) -> str:
    """What keeps ``message`` from being JSON-RPC, or nothing. The SDK trusts these shapes."""
    if not isinstance(message, dict):
        return "A line that is JSON, but no object"
    if "id" in message and (isinstance(message["id"], bool) or not isinstance(message["id"], str | int)):
        return "An id that is neither text nor number"
    if "method" in message:
        return "" if isinstance(message["method"], str) else "A method that is no text"
    if "id" not in message:
        return "Neither a method nor an id"
    error = message.get("error")
    if "result" not in message and not (isinstance(error, dict) and isinstance(error.get("message", ""), str)):
        return "An answer without a result or a well-formed error"
    return ""


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _without_surrogates(item) for key, item in value.items()}
    return value


def printable(text: str) -> str:
    """``text`` without lone surrogates, which no encoding can hold; JavaScript makes them by cutting emoji in half."""
    return _SURROGATE.sub("\ufffd", text)
