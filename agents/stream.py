"""Live readers of runs: one tail per watched run and process, shared by all its readers.

The stream in the database is the truth. A tail holds the last events, encoded once; it
is fed by ``tails.feed`` straight after the commit, or reads on by itself when the bell
rings. A reader that lags behind its tail reads the database for itself, and holds up
nobody.
"""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import DatabaseError

from audit.bell import bell
from nodes.contract.errors import NotFound, Unavailable
from nodes.contract.events import STATEFUL

from .chunks import Chunks
from .reading import Encoded, EventRow, RunHead, encode, in_thread, read_events, read_head

__all__ = ["EventRow", "Frame", "Kind", "Reader", "Tail", "Tails", "read_events", "tails"]

logger = structlog.get_logger(__name__)

TAIL_EVENTS: Final = 1_000
TAIL_BYTES: Final = 4 * 1024 * 1024
ALL_TAILS_BYTES: Final = 128 * 1024 * 1024
MAX_TAILS: Final = 10_000
FED_ROWS: Final = 20_000
"""Rows on their way to the loop at most; beyond, tails read them from the database."""
FRAME_EVENTS: Final = 250
FRAME_BYTES: Final = 128 * 1024
"""Events in one frame at most (and always one, whatever its size)."""
HEARTBEAT_SECONDS: Final = 15.0
GUARD_SECONDS: Final = 3.0
"""How often it is asked anew whether a reader may still read."""
PACE_SECONDS_PER_READER: Final = 0.0001
PACE_SECONDS: Final = 0.05
"""Readers of a tail are woken at most once in this time, less where they are few: many readers, larger frames."""
RETRY_SECONDS: Final = 1.0


class Kind(StrEnum):
    """What a reader's frames of events are made of."""

    JSON = "json"
    SSE = "sse"


@dataclass(frozen=True, slots=True)
class Frame:
    """What a reader gets next. ``text`` is a whole frame of events; the other names come with ``data``."""

    name: str
    text: str = ""
    data: dict[str, Any] | None = None


Guard = Callable[[RunHead], Awaitable[None]]
"""Raises ``HubError`` once the reader may no longer see the run."""

EVENTS, STATE, HEARTBEAT, GAP, END = "events", "state", "heartbeat", "gap", "end"


def join_events(kind: Kind, events: Sequence[Encoded]) -> str:
    """One frame of events, as ``kind`` writes it."""
    if kind is Kind.SSE:
        return "".join([f"id: {event.seq}\ndata: {event.text}\n\n" for event in events])
    return '{"events":[' + ",".join([event.text for event in events]) + "]}"


def take_frame(events: Sequence[Encoded], start: int = 0) -> list[Encoded]:
    """As many of ``events``, from index ``start``, as one frame may hold; at least one."""
    size, taken = 0, list[Encoded]()
    for event in islice(events, start, start + FRAME_EVENTS):
        size += len(event.text)
        if taken and size > FRAME_BYTES:
            break
        taken.append(event)
    return taken


class Tail:
    """The end of one run's stream in this process. Touched on the loop only."""

    def __init__(self, run_id: UUID, owner: "Tails") -> None:
        self.run_id = run_id
        self.stream = f"run:{run_id}"
        self.readers = 0
        self.head: RunHead | None = None
        self.is_gone = False
        self.last = -1
        self.shown = -1
        """How far readers may read: follows ``last`` at the pace of ``_wake``."""
        self._owner = owner
        self._events: deque[Encoded] = deque()
        self._bytes = 0
        self._head_is_stale = False
        self._frames: dict[tuple[Kind, int, int], tuple[str, int]] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._woke_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._opened: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the head, once for all who open at the same time, and begin to follow. Raises ``NotFound``."""
        if self._opened is None:
            self._opened = asyncio.create_task(self._open())
        await asyncio.shield(self._opened)

    async def _open(self) -> None:
        self.head = await in_thread(read_head, self.run_id)
        self.last = self.shown = self.head.last_seq
        self._following = asyncio.create_task(self._follow(), name=f"tail {self.run_id}")

    def close(self) -> None:
        for task in (self._opened, self._following):
            if task:
                task.cancel()
        if self._timer:
            self._timer.cancel()
        self._wake()

    def extend(self, rows: Sequence[EventRow]) -> bool:
        """Take rows that continue the tail; what it has already is skipped. False if some are missing in between."""
        if self.head is None or not rows or rows[-1].seq <= self.last:
            return True
        if rows[0].seq > self.last + 1:
            return False
        new = encode(self.head, rows[max(0, self.last + 1 - rows[0].seq) :])
        self._events.extend(new)
        self._bytes += sum(len(event.text) for event in new)
        self.last = new[-1].seq
        self._head_is_stale |= any(row.type in STATEFUL for row in rows)
        self._trim()
        self._wake_at_pace()
        return True

    def frame(self, kind: Kind, after: int) -> tuple[str, int] | None:
        """The next frame after number ``after`` and the number it ends with; None if the tail begins later."""
        if not self._events or after + 1 < self._events[0].seq:
            return None
        key = (kind, after, self.shown)
        made = self._frames.get(key)
        if made is None:
            start = after + 1 - self._events[0].seq
            shown = [event for event in take_frame(self._events, start) if event.seq <= self.shown]
            made = (join_events(kind, shown), shown[-1].seq)
            if len(self._frames) >= 8:
                self._frames.clear()
            self._frames[key] = made
        return made

    async def read_again(self, head: RunHead, after: int) -> list[Encoded]:
        """Some events after ``after`` that the tail no longer holds, from the database."""
        return await self._owner.chunks.read(head, after, self.shown)

    async def wait(self, timeout: float) -> None:
        """Until there is something new to look at, at most ``timeout`` seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        timer = asyncio.get_running_loop().call_later(max(timeout, 0), _resolve, future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    def _trim(self) -> None:
        most = self._owner.bytes_per_tail
        while self._events and (len(self._events) > TAIL_EVENTS or self._bytes > most):
            self._bytes -= len(self._events.popleft().text)

    def _wake_at_pace(self) -> None:
        if self._timer:
            return
        loop = asyncio.get_running_loop()
        pace = min(PACE_SECONDS, PACE_SECONDS_PER_READER * self._owner.readers)
        wait = self._woke_at + pace - loop.time()
        if wait > 0:
            self._timer = loop.call_later(wait, self._wake)
        else:
            self._wake()

    def _wake(self) -> None:
        self._timer = None
        self._woke_at = asyncio.get_running_loop().time()
        self.shown = self.last
        for future in self._waiting:
            _resolve(future)

    async def _follow(self) -> None:
        """Read on whenever the bell says more than the tail holds, and keep the head fresh."""
        heard = self.last
        while not bell.is_closed:
            try:
                known = max(self.last, heard)
                heard = await bell.wait(self.stream, known, HEARTBEAT_SECONDS)
                if heard > self.last:
                    await self._read_on(heard)
                if self._head_is_stale or heard == known:  # nothing rang: look once a heartbeat all the same
                    await self._refresh_head()
            except NotFound:
                self.is_gone = True
                self._wake()
                return
            except DatabaseError as error:
                logger.warning("tail.read_failed", run=str(self.run_id), error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
        self._wake()

    async def _read_on(self, heard: int) -> None:
        while self.last < heard:
            rows = await in_thread(read_events, self.run_id, self.last, TAIL_EVENTS)
            if not rows and self.last < heard:
                bell.correct(self.stream, self.last)
                self._head_is_stale = True
                return
            if not self.extend(rows):  # a hole in the stream itself: readers are told when they come to it
                self._events.clear()
                self._bytes = 0
                self.last = rows[0].seq - 1
                self.extend(rows)

    async def _refresh_head(self) -> None:
        self._head_is_stale = False
        try:
            self.head = await in_thread(read_head, self.run_id)
        except DatabaseError:
            self._head_is_stale = True
            raise
        for future in self._waiting:
            _resolve(future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Tails:
    """All tails of this process, by run; one exists while somebody reads it."""

    def __init__(self) -> None:
        self.readers = 0
        self.chunks = Chunks()
        self._tails: dict[UUID, Tail] = {}
        self._lock = threading.Lock()
        self._fed: list[tuple[UUID, Sequence[EventRow]]] = []
        self._fed_rows = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def bytes_per_tail(self) -> int:
        return min(TAIL_BYTES, ALL_TAILS_BYTES // max(1, len(self._tails)))

    def watches(self, run_id: UUID) -> bool:
        """Whether anybody in this process reads the run. From any thread."""
        return run_id in self._tails

    def feed(self, run_id: UUID, rows: Sequence[EventRow]) -> None:
        """Hand committed rows to whoever watches the run. From any thread, straight after the commit."""
        if run_id not in self._tails or not rows:
            return
        with self._lock:
            if self._fed_rows + len(rows) > FED_ROWS:
                return  # the loop does not keep up: the bell will have tails read them
            is_first = not self._fed
            self._fed.append((run_id, rows))
            self._fed_rows += len(rows)
            loop = self._loop
        if is_first and loop:
            with suppress(RuntimeError):  # the loop closed meanwhile: this process is at its end
                loop.call_soon_threadsafe(self._take_fed)

    def _take_fed(self) -> None:
        with self._lock:
            fed, self._fed, self._fed_rows = self._fed, [], 0
        for run_id, rows in fed:
            tail = self._tails.get(run_id)
            if tail:
                tail.extend(rows)

    @asynccontextmanager
    async def watch(self, run_id: UUID) -> AsyncIterator[Tail]:
        """The run's tail, for as long as it is read. Raises ``NotFound``; ``Unavailable`` beyond ``MAX_TAILS``."""
        self._loop = asyncio.get_running_loop()
        tail = self._tails.get(run_id)
        if tail is None:
            if len(self._tails) >= MAX_TAILS:
                raise Unavailable("Too many runs are being watched; try again.")
            tail = self._tails[run_id] = Tail(run_id, self)
        tail.readers += 1
        self.readers += 1
        try:
            await tail.open()
            yield tail
        finally:
            tail.readers -= 1
            self.readers -= 1
            if not tail.readers:
                tail.close()
                if self._tails.get(run_id) is tail:
                    del self._tails[run_id]


tails = Tails()
"""This process's tails."""


class Reader:
    """One reader's way through a run's stream. ``next`` until it answers None."""

    def __init__(
        self, tail: Tail, after: int, kind: Kind, guard: Guard, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> None:
        self.position = after
        self._tail = tail
        self._kind = kind
        self._guard = guard
        self._guard_at = time.monotonic() + GUARD_SECONDS
        self._beat_seconds = heartbeat_seconds
        self._beat_at = time.monotonic() + heartbeat_seconds
        self._told: tuple[str, str] | None = None
        self._own: list[Encoded] = []
        self._is_over = False

    async def next(self) -> Frame | None:
        """The next frame, waiting for it. None when the run's end was sent, or this process is stopping.

        First the state, then events, the state again whenever it changes, a heartbeat
        every 15 s, and at the end of the run ``end``. Raises ``HubError`` once the
        guard no longer lets the reader see the run.
        """
        while not self._is_over and not bell.is_closed:
            head = self._tail.head
            if head is None or self._tail.is_gone:
                raise NotFound("This run is no longer there.", run=str(self._tail.run_id))
            if self._told is None:
                return self._tell_state(head)
            now = time.monotonic()
            if now >= self._guard_at:
                self._guard_at = now + GUARD_SECONDS
                await self._guard(head)
            if now >= self._beat_at:
                self._beat_at = now + self._beat_seconds
                return Frame(HEARTBEAT, data={**head.summary(), "last_seq": max(head.last_seq, self._tail.last)})
            if self.position > max(head.last_seq, self._tail.last):  # the database was set back behind the reader
                return self._jump(max(head.last_seq, self._tail.last))
            if self.position < self._tail.shown:
                try:
                    return await self._next_events(head)
                except DatabaseError as error:
                    logger.warning("reader.read_failed", run=str(head.run_id), error=str(error))
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
            if self._told != (head.state, head.reason):
                return self._tell_state(head)
            if head.is_ended and self.position >= head.last_seq:
                self._is_over = True
                return Frame(END, data=head.summary())
            await self._tail.wait(min(self._beat_at, self._guard_at) - now)
        return None

    def _tell_state(self, head: RunHead) -> Frame:
        self._told = (head.state, head.reason)
        return Frame(STATE, data=head.summary())

    async def _next_events(self, head: RunHead) -> Frame:
        made = None if self._own else self._tail.frame(self._kind, self.position)
        if made:
            text, self.position = made
            return Frame(EVENTS, text)
        if not self._own:
            events = await self._tail.read_again(head, self.position)
            if not events:
                return await self._skip_to_next_row()
            if events[0].seq != self.position + 1:
                return self._jump(events[0].seq - 1)
            self._own = _without_holes(events)
        taken = take_frame(self._own)
        del self._own[: len(taken)]
        self.position = taken[-1].seq
        return Frame(EVENTS, join_events(self._kind, taken))

    async def _skip_to_next_row(self) -> Frame:
        rows = await in_thread(read_events, self._tail.run_id, self.position, 1)
        return self._jump(rows[0].seq - 1 if rows else self._tail.shown)

    def _jump(self, to: int) -> Frame:
        """Say that what lies between is not there (``stream.gap``), and go on behind it."""
        gap = Frame(GAP, data={"after": self.position, "next": to + 1})
        self.position = to
        return gap


def _without_holes(events: list[Encoded]) -> list[Encoded]:
    """``events`` up to the first hole, which is told when the reader comes to it."""
    for index, event in enumerate(events):
        if event.seq != events[0].seq + index:
            return events[:index]
    return events


def as_json(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))
