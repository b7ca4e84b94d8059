"""A run's events as they happen: SSE, taken up again where it was cut off.

The stream is the truth and numbered, so a cut costs a pause and nothing else: the next
connection asks for everything after the last number seen.
"""

import json
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from .client import Client, HubRefused, HubUnreachable, Json

SILENCE_SECONDS: Final = 45.0
"""The hub's heartbeat comes every 15 s; after three missing ones the connection counts as cut."""
PATIENCE_SECONDS: Final = 600.0
"""How long a hub may be away before we give up."""
LONGEST_PAUSE: Final = 3.0
QUEUED: Final = 2_000
"""Frames read ahead of a slow terminal; then the hub waits, and re-reads for us."""
FRAME_BYTES: Final = 1024 * 1024
ENDINGS: Final = frozenset({"run.completed", "run.failed", "run.cancelled"})


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the run, as the hub wrote it (``raw``) and decoded."""

    raw: str
    envelope: Json


@dataclass(frozen=True, slots=True)
class StateFrame:
    """The run's state, as said on each connection."""

    state: str
    reason: str
    last_seq: int


@dataclass(frozen=True, slots=True)
class Pause:
    """The connection was cut (``back`` is False) or is back."""

    back: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events between ``after`` and ``next`` are truly missing at the hub; the stream goes on with ``next``."""

    after: int
    next: int


Frame = Event | StateFrame | Pause | Gap


def follow(
    client: Client, run: str, after: int, *, is_known: bool = False, patience: float = PATIENCE_SECONDS
) -> Iterator[Frame]:
    """Everything after ``after``, until the run's end. Raises ``HubRefused`` or, out of patience, ``HubUnreachable``.

    ``is_known``: this hub has answered before, so that one that does not answer now is only away.
    """
    position = Position(after, is_known)
    cut_at: float | None = None
    attempt = 0
    while True:
        why = "the hub closed the connection"
        try:
            for frame in _one_connection(client, run, position.last):
                if cut_at is not None:
                    yield Pause(back=True)
                    cut_at, attempt = None, 0
                if position.take(frame):
                    yield frame
                if position.is_at_end:
                    return
        except (HubRefused, HubUnreachable) as error:
            if not position.may_retry(error):
                raise
            why = str(error)
        now = time.monotonic()
        if cut_at is None:
            cut_at = now
            yield Pause(back=False, why=why)
        elif now - cut_at > patience:
            raise HubUnreachable(f"The hub has been away for {patience:.0f} s. Follow again later: nothing is lost.")
        attempt += 1
        time.sleep(min(LONGEST_PAUSE, 0.1 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter


class Position:
    """How far we have read."""

    def __init__(self, after: int, is_known: bool) -> None:
        self.last = after
        self.is_at_end = False
        self._is_known = is_known

    def take(self, frame: "Event | StateFrame | Gap") -> bool:
        """Whether the frame is news."""
        self._is_known = True
        if isinstance(frame, Event):
            seq = int(frame.envelope["seq"])
            if seq <= self.last:
                return False
            self.last = seq
            self.is_at_end = frame.envelope["type"] in ENDINGS
        elif isinstance(frame, Gap):
            self.last = frame.next - 1
        else:
            self.is_at_end = is_over(frame.state) and self.last >= frame.last_seq
        return True

    def may_retry(self, error: HubRefused | HubUnreachable) -> bool:
        """A hub that answered before is only away; one that never did is not there."""
        if isinstance(error, HubUnreachable):
            return self._is_known
        return error.status >= 500 or error.status == 429


def is_over(state: str) -> bool:
    return state in ("succeeded", "failed", "cancelled", "timed_out")


def _one_connection(client: Client, run: str, after: int) -> Iterator[Event | StateFrame | Gap]:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    path = f"/api/v1/runs/{quote(run)}/events/stream"
    with client.stream(path, headers, SILENCE_SECONDS) as answer:
        data: list[str] = []
        while line := answer.readline(FRAME_BYTES):
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if text.startswith("data:"):
                data.append(text[5:].removeprefix(" "))
            elif not text and data:
                if frame := _frame("\n".join(data)):
                    yield frame
                data = []


def _frame(data: str) -> Event | StateFrame | Gap | None:
    decoded = json.loads(data)
    if "seq" in decoded and "type" in decoded:
        return Event(data, decoded)
    if "state" in decoded:
        return StateFrame(decoded["state"], decoded.get("reason") or "", int(decoded.get("last_seq") or 0))
    if "next" in decoded:
        return Gap(int(decoded.get("after") or 0), int(decoded["next"]))
    return None


class Reader:
    """Follows in a thread of its own, so that a question on the terminal and the events are both heard."""

    def __init__(self, frames: Callable[[], Iterator[Frame]]) -> None:
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue(QUEUED)
        self._frames = frames
        threading.Thread(target=self._read, name="events", daemon=True).start()

    def _read(self) -> None:
        try:
            for frame in self._frames():
                self._queue.put(frame)
        except (HubRefused, HubUnreachable, ValueError) as error:
            self._queue.put(error)
        else:
            self._queue.put(None)

    def next(self, timeout: float | None = None) -> Frame | None:
        """The next frame; None at the end. Raises what ended the reading, or ``queue.Empty`` after ``timeout``."""
        found = self._queue.get(timeout=timeout)
        if isinstance(found, BaseException):
            raise found
        return found

    def has_more(self) -> bool:
        return not self._queue.empty()
