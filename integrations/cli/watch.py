"""Watching a run on the command line: events as lines, questions asked where there is somebody to answer."""

import json
import queue
import signal
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType

from .ask import Asker, is_interactive
from .client import Client, Json
from .exits import OUTCOMES, Exit
from .follow import ENDINGS, Event, Frame, Gap, Pause, Reader, StateFrame, follow, is_over
from .render import PlainSink, Sink, Story, short_id

TICK_SECONDS = 0.2
_OUTCOME_OF = {"run.completed": Exit.OK, "run.failed": Exit.FAILED, "run.cancelled": Exit.CANCELLED}


def make_sink(*, is_live: bool) -> Sink:
    """A spinner on a terminal, plain lines in a pipe. rich is imported for the former only."""
    if not sys.stdout.isatty():
        return PlainSink()
    if not is_live:
        return PlainSink(colour=True)
    from .live import LiveSink

    return LiveSink()


def watch(client: Client, run: str, after: int = 0, *, as_json: bool = False) -> Exit:
    """Follow a run to its end; the exit code is its outcome."""

    def frames() -> Iterator[Frame]:
        return follow(client, run, after, is_known=True)

    return _pass_on(frames()) if as_json else _Watch(client, run, Reader(frames)).to_the_end()


def _note(text: str) -> None:
    print(f"agenthub: {text}", file=sys.stderr, flush=True)


def _pass_on(frames: Iterator[Frame]) -> Exit:
    """NDJSON: every event, a line, as the hub wrote it."""
    outcome = Exit.OK
    for frame in frames:
        if isinstance(frame, Event):
            print(frame.raw, flush=True)
            outcome = _OUTCOME_OF.get(frame.envelope["type"], outcome)
        elif isinstance(frame, StateFrame):
            outcome = OUTCOMES.get(frame.state, outcome)
        else:
            _say_aside(frame)
    return outcome


def _say_aside(frame: Pause | Gap) -> None:
    if isinstance(frame, Gap):
        _note(f"events {frame.after + 1} to {frame.next - 1} are missing at the hub.")
    elif frame.back:
        _note("the hub is back; nothing was missed.")
    else:
        _note("the connection to the hub was cut; waiting for it to come back …")


class _CtrlC:
    """Heard between two frames: raised in the middle of drawing one, it could be lost there, or a lock kept."""

    def __init__(self) -> None:
        self.is_pressed = False

    def __enter__(self) -> "_CtrlC":
        self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.is_pressed:  # and nobody came to look: the terminal is stuck
            raise KeyboardInterrupt
        self.is_pressed = True


class _Watch:
    def __init__(self, client: Client, run: str, reader: Reader) -> None:
        self._client = client
        self._run = run
        self._reader = reader
        self._sink = make_sink(is_live=True)
        self._story = Story(self._sink)
        self._asker = Asker(client, run, self._sink) if is_interactive() else None
        self._ctrl_c = _CtrlC()
        self._open: dict[str, Json] = {}
        """Questions without an answer, by approval."""
        self._has_hinted = False
        self._outcome = Exit.OK

    def to_the_end(self) -> Exit:
        try:
            with self._ctrl_c:
                while not self._ctrl_c.is_pressed:
                    try:
                        frame = self._reader.next(TICK_SECONDS)
                    except queue.Empty:
                        self._when_quiet()
                        continue
                    if frame is None:
                        return self._outcome
                    self._take(frame)
        finally:
            self._sink.finish()
        _note(f"the run goes on. Follow it again: agenthub logs {short_id(self._run)} --follow")
        _note(f"or end it: agenthub cancel {short_id(self._run)}")
        return Exit.INTERRUPTED

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Event):
            self._take_event(frame.envelope)
        elif isinstance(frame, StateFrame):
            self._outcome = OUTCOMES.get(frame.state, self._outcome)
            if not is_over(frame.state):
                self._sink.status(frame.state + (f" for {frame.reason}" if frame.state == "waiting" else ""))
                if frame.state == "waiting" and frame.reason == "input":
                    self._wants_input()
        else:
            _say_aside(frame)

    def _take_event(self, envelope: Json) -> None:
        self._story.tell(envelope)
        kind, payload = envelope["type"], envelope["payload"]
        if kind == "run.approval.requested":
            self._open[payload["approval_id"]] = payload
            if not self._asker:
                _note(f"answer with: agenthub approve {short_id(self._run)} --allow (or --reject)")
        elif kind in ("run.approval.decided", "run.approval.resolved"):
            self._open.pop(payload["approval_id"], None)
        elif kind in ENDINGS:
            self._outcome = _OUTCOME_OF[kind]
            self._open.clear()

    def _when_quiet(self) -> None:
        """Nothing more to read just now: a question that is still open is asked here."""
        if not (self._asker and self._open):
            return
        approval, request = next(iter(self._open.items()))
        if self._asker.ask(approval, request, self._has_news):
            self._open.pop(approval, None)

    def _has_news(self) -> bool:
        return self._ctrl_c.is_pressed or self._reader.has_more()

    def _wants_input(self) -> None:
        if not self._has_hinted:
            self._has_hinted = True
            self._sink.close()
            _note(f"the run waits for input: agenthub input {short_id(self._run)} TEXT")


def print_events(client: Client, run: str, after: int, *, as_json: bool) -> Exit:
    """What there is now, without waiting for more."""
    story = Story(make_sink(is_live=False))
    try:
        while True:
            page = client.get(f"/api/v1/runs/{run}/events", after=after, limit=1000)
            for envelope in page["results"]:
                if as_json:
                    print(json.dumps(envelope, ensure_ascii=False, separators=(",", ":")))
                else:
                    story.tell(envelope)
                after = envelope["seq"]
            if not page["results"] or after >= page["last_seq"]:
                return Exit.OK
    finally:
        story.sink.finish()
