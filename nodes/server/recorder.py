"""Everything a run says, on its way to the spool: redacted, gathered, bounded, numbered, announced."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog
from pydantic import ValidationError

from nodes.contract import events
from nodes.contract.limits import EVENT_BYTES, EXCERPT_CHARS
from nodes.contract.runtime import TextKind

from .coalesce import Coalescer
from .control import Spooled
from .redaction import SLICE_CHARS, RedactedStream, Redactor
from .spool import SpoolWriter

logger = structlog.get_logger(__name__)

SYNC_SECONDS = 1.0
RETRY_SECONDS = 1.0
"""How long after the disk refused a write it is tried again."""
PAUSE_SECONDS = 1.0
"""After this long without a further text the end of each is shown, though a secret could begin there."""
OPEN_TEXTS = 64
"""Texts whose end is not known, at once at most; then the oldest counts as whole."""
MOST_WAITING = 512
"""Slices of long texts, and what was recorded after them, that wait to be redacted."""
_Key = tuple[TextKind, str]
_CUTS: Final = ((16_000, 300), (4_000, 100), (1_000, 50), (200, 20), (50, 5))
"""Characters a text and items a list may keep, tried in turn on a payload that is too large."""


class Recorder:
    """The one writer of a run's spool. ``announce`` hears what can be read, ``on_full`` when to stop and go on."""

    def __init__(
        self,
        writer: SpoolWriter,
        redactor: Redactor,
        announce: Callable[[Spooled], None],
        on_full: Callable[[bool], None],
    ) -> None:
        self._writer = writer
        self.redactor = redactor
        self._announce = announce
        self._on_full = on_full
        self._loop = asyncio.get_running_loop()
        self._texts: dict[_Key, RedactedStream] = {}
        self._coalescer = Coalescer[_Key](self._write_text, self._loop.time)
        self._flush_handle: asyncio.Handle | None = None
        self._text_handle: asyncio.TimerHandle | None = None
        self._sync_handle: asyncio.TimerHandle | None = None
        self._pause_handle: asyncio.TimerHandle | None = None
        self._backlog: deque[Callable[[], None]] = deque()
        self._work_handle: asyncio.Handle | None = None
        self._is_held = False
        self.is_full = False

    @property
    def spooled(self) -> Spooled:
        at = self._writer.position
        return Spooled(at.segment, at.offset, self._writer.last_seq)

    def emit(self, payload: events.Payload) -> None:
        """Record one event; pending text goes before it."""
        if self._backlog:
            self._in_turn([partial(self._emit, payload)])
        else:
            self._emit(payload)

    def emit_text(self, kind: TextKind, text: str, message_id: str = "") -> None:
        """Record a piece of text, gathered with its neighbours. What may be the start of a secret waits,
        but for its first characters, which are shown when no more text comes.

        Of a text of many MiB a slice at a time is redacted, and others have their turn in between; what is recorded
        after it comes after it.
        """
        if not self._backlog:
            self._emit_text(kind, text[:SLICE_CHARS], message_id)
            text = text[SLICE_CHARS:]
        slices = [text[at : at + SLICE_CHARS] for at in range(0, len(text), SLICE_CHARS)]
        self._in_turn([partial(self._emit_text, kind, part, message_id) for part in slices])

    def end_texts(self) -> None:
        """Whoever spoke says no more: what of it waits, because a secret could begin there, is recorded now."""
        self._in_turn([partial(self._finish_texts, lambda _: True)])

    def _in_turn(self, works: Sequence[Callable[[], None]]) -> None:
        self._backlog.extend(works)
        if len(self._backlog) > MOST_WAITING:
            self._catch_up()  # the agent waits meanwhile, instead of our memory growing
        elif self._backlog and self._work_handle is None:
            self._work_handle = self._loop.call_soon(self._work)

    def _work(self) -> None:
        self._work_handle = None
        if self._backlog:
            self._backlog.popleft()()
        if self._backlog:
            self._work_handle = self._loop.call_soon(self._work)

    def _catch_up(self) -> None:
        while self._backlog:
            self._backlog.popleft()()

    def _emit(self, payload: events.Payload) -> None:
        match payload:
            case events.MessageCompleted():
                self._finish_texts(lambda key: key[1] == payload.message_id)
            case events.TurnCompleted():
                self._finish_texts(lambda key: key[0] in ("message", "thought"))
            case events.RunCompleted() | events.RunFailed() | events.RunCancelled():
                self._finish_texts(lambda _: True)
        self._coalescer.flush()
        try:
            self._append(_bounded(self.redactor.payload(payload)))
        except ValidationError as error:
            self._append(_unfit(payload, error, self.redactor))

    def _emit_text(self, kind: TextKind, text: str, message_id: str) -> None:
        key: _Key = (kind, self.redactor.text(message_id))
        stream = self._texts.get(key)
        if stream is None:
            if len(self._texts) >= OPEN_TEXTS:
                oldest = next(iter(self._texts))
                self._finish_texts(lambda key: key == oldest)
            stream = self._texts[key] = self.redactor.stream()
        self._gather(key, stream.feed(text))
        if self._pause_handle:
            self._pause_handle.cancel()
        is_held = any(each.held for each in self._texts.values())
        self._pause_handle = self._loop.call_later(PAUSE_SECONDS, self._peek) if is_held else None

    def _peek(self) -> None:
        self._pause_handle = None
        for key, stream in self._texts.items():
            self._gather(key, stream.peek())

    def _gather(self, key: _Key, text: str) -> None:
        self._coalescer.add(key, text)
        if self._coalescer.due is not None and self._text_handle is None:
            self._text_handle = self._loop.call_at(self._coalescer.due, self._flush_texts)

    def acknowledge(self, origin_seq: int) -> None:
        """The hub has everything up to here."""
        self._writer.acknowledge(origin_seq)
        self._check_full()

    def hold(self, is_held: bool) -> None:
        """All runs of the node together are at their bound, or no longer."""
        self._is_held = is_held
        self._check_full()

    def flush(self) -> bool:
        """Write now what was recorded; False if the disk has no room for it."""
        self._catch_up()
        return self._flush()

    def _flush(self) -> bool:
        if self._flush_handle:
            self._flush_handle.cancel()
            self._flush_handle = None
        before = self._writer.position
        is_written = self._writer.flush()
        if not is_written:
            self._flush_handle = self._loop.call_later(RETRY_SECONDS, self._flush)
        elif self._writer.position != before:
            self._announce(self.spooled)
        if self._writer.is_dirty and self._sync_handle is None:
            self._sync_handle = self._loop.call_later(SYNC_SECONDS, self._sync)
        self._check_full()
        return is_written

    def close(self) -> None:
        """Write what there is and stop the clocks."""
        self._catch_up()
        self._finish_texts(lambda _: True)
        self._coalescer.flush()
        self.flush()
        handles = (self._flush_handle, self._text_handle, self._sync_handle, self._pause_handle, self._work_handle)
        for handle in handles:
            if handle:
                handle.cancel()
        self._writer.sync()
        self._writer.close()

    def _write_text(self, key: _Key, text: str) -> None:
        kind, message_id = key
        match kind:
            case "message":
                self._append(events.MessageDelta(message_id=message_id, text=text))
            case "thought":
                self._append(events.ThoughtDelta(message_id=message_id, text=text))
            case "stdout" | "stderr":
                self._append(events.Output(stream=kind, text=text))

    def _append(self, payload: events.Payload) -> None:
        self._writer.append(payload)
        if self._flush_handle is None:
            # At the end of this turn of the loop: what came together is written together.
            self._flush_handle = self._loop.call_soon(self._flush)

    def _finish_texts(self, chosen: Callable[[_Key], bool]) -> None:
        for key in [key for key in self._texts if chosen(key)]:
            self._coalescer.add(key, self._texts.pop(key).feed("", is_last=True))

    def _flush_texts(self) -> None:
        self._text_handle = None
        self._coalescer.flush()

    def _sync(self) -> None:
        self._sync_handle = None
        if self._writer.is_dirty:
            self._writer.sync()

    def _check_full(self) -> None:
        is_full = self._writer.is_full or self._is_held
        if is_full != self.is_full:
            self.is_full = is_full
            self._on_full(is_full)


def _bounded(payload: events.Payload) -> events.Payload:
    """The payload if it fits an event, else with its long texts and lists cut, and said to be."""
    text = payload.model_dump_json()
    if len(text) <= EVENT_BYTES // 4 or len(text.encode()) <= EVENT_BYTES:
        return payload
    whole = payload.model_dump()
    for chars, items in _CUTS:
        cut = _cut(whole, chars, items)
        if "truncated" in cut:
            cut["truncated"] = True
        smaller = type(payload).model_validate(cut)
        if len(smaller.model_dump_json().encode()) <= EVENT_BYTES:
            return smaller
    return events.ValidationFailed(
        source=payload.TYPE, error="The event is too large.", excerpt=text[:EXCERPT_CHARS], dropped_bytes=len(text)
    )


def _cut(value: Any, chars: int, items: int) -> Any:
    if isinstance(value, str) and len(value) > chars:
        return f"{value[:chars]}… [{len(value) - chars:,} characters left out]"
    if isinstance(value, dict):
        return {key: _cut(item, chars, items) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(item, chars, items) for item in value[:items]]
    return value


def _unfit(payload: events.Payload, error: ValidationError, redactor: Redactor) -> events.ValidationFailed:
    problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors()[:5])
    excerpt = redactor.text(str(payload))[:EXCERPT_CHARS]
    return events.ValidationFailed(source=payload.TYPE, error=problems, excerpt=excerpt)
