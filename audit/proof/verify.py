"""Checks an export of the trail, line by line, in bounded memory, and says where it was tampered with.

An export is lines of JSON, each with a ``type``: first the keys and the head, then stream by stream checkpoints, each
before the events that it seals, then the serials: all checkpoints again, in the order in which they were made.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .chain import DIGEST_BYTES, NO_EVENT, Checkpoint, Malformed, digest_of, first_link, link, texts_of
from .keys import KeyRecord, is_signed, trusted_keys

MOST_PROBLEMS: Final = 1_000
"""Kept to be told; more are only counted."""
CHECKPOINTS: Final = "checkpoints"
"""In place of a stream: the checkpoints of all, by their serials."""


@dataclass(slots=True)
class Problem:
    """What is wrong, and where: events (or serials) of a stream from ``number`` to ``last``."""

    stream: str
    number: int
    last: int
    what: str
    detail: str

    def as_json(self) -> dict[str, Any]:
        return {
            "stream": self.stream,
            "number": self.number,
            "last": self.last,
            "what": self.what,
            "detail": self.detail,
        }


@dataclass(slots=True)
class StreamReport:
    """What was found of one stream: so many events, sealed up to a number, by so many checkpoints."""

    events: int = 0
    sealed: int = 0
    checkpoints: int = 0
    unsealed: int = 0


@dataclass(slots=True)
class Report:
    streams: dict[str, StreamReport] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    more_problems: int = 0
    checkpoints: int = 0
    witnessed: int = 0
    """Checkpoints of another record that were found here."""
    unprotected: list[str] = field(default_factory=list)
    """Triggers that should protect the tables and are not there."""

    @property
    def is_whole(self) -> bool:
        return not (self.problems or self.unprotected)

    @property
    def events(self) -> int:
        return sum(stream.events for stream in self.streams.values())

    @property
    def unsealed(self) -> int:
        return sum(stream.unsealed for stream in self.streams.values())

    def add(self, stream: str, number: int, what: str, detail: str, last: int | None = None) -> None:
        """Note a problem; one that goes on where the one before ended makes that one longer."""
        last = number if last is None else last
        before = self.problems[-1] if self.problems else None
        if before and (before.stream, before.what, before.detail, before.last + 1) == (stream, what, detail, number):
            before.last = last
        elif len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(stream, number, last, what, detail))
        else:
            self.more_problems += 1


def verify(
    lines: Iterable[str | bytes],
    *,
    known: Iterable[KeyRecord] = (),
    witnesses: Iterable[Checkpoint] = (),
) -> Report:
    """What an export holds, and what is wrong with it. Without ``known`` keys, those in it are believed.

    ``witnesses`` are checkpoints that were kept elsewhere, in the order in which they were made; each must be found.
    Of one project's export, those of that project are. Raises ``Malformed`` for what is no export.
    """
    return _Verifier(list(known), iter(witnesses)).run(lines)


class _Verifier:
    def __init__(self, known: list[KeyRecord], witnesses: Iterator[Checkpoint]) -> None:
        self.report = Report()
        self._known = known
        self._offered: list[KeyRecord] = []
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._head: Mapping[str, Any] | None = None
        self._stream: _Stream | None = None
        self._serials: _Serials | None = None
        self._seen = _Sum()
        self._kept = witnesses
        self._witnesses = _Witnesses(iter(()), self.report)

    def run(self, lines: Iterable[str | bytes]) -> Report:
        is_over = False
        for number, raw in enumerate(lines, 1):
            line = _parse(raw, number)
            match line.get("type"):
                case "key":
                    self._offered.append(KeyRecord.of(line))
                case "head":
                    self._begin(line)
                case "event":
                    self._of(line).event(line)
                case "checkpoint":
                    self._checkpoint(line)
                case "serial":
                    self._serial(Checkpoint.of(line))
                case "end":
                    is_over = True
        if self._head is None:
            raise Malformed("This is no export of an audit trail: it has no head.")
        if not is_over:
            raise Malformed("This export is cut off: its last line is missing. Export again.")
        self._finish()
        return self.report

    def _begin(self, line: Mapping[str, Any]) -> None:
        self._head = line
        self._keys = trusted_keys(self._known or self._offered, self._offered)
        if (stream := line.get("project")) is not None:
            self._kept = (one for one in self._kept if one.stream == stream)
        self._witnesses = _Witnesses(self._kept, self.report)
        self.report.unprotected = [str(name) for name in line.get("missing_triggers") or ()]

    @property
    def _is_all(self) -> bool:
        return self._head is not None and self._head.get("project") is None

    def _of(self, line: Mapping[str, Any]) -> "_Stream":
        """The stream that a line belongs to; the one before it is over."""
        if self._head is None or not isinstance(name := line.get("stream"), str):
            raise Malformed("An export begins with its head, and each line names its stream.")
        if self._stream is None or self._stream.name != name:
            self._end_stream()
            if name in self.report.streams:
                raise Malformed(f"The stream {name} comes twice.")
            counter = self._head.get("streams", {}).get(name, 0)
            after = int(self._head.get("after") or 0)
            self._stream = _Stream(name, self.report, self._keys, counter, after)
        return self._stream

    def _end_stream(self) -> None:
        if self._stream:
            self._stream.finish()
            self._stream = None

    def _checkpoint(self, line: Mapping[str, Any]) -> None:
        checkpoint = Checkpoint.of(line)
        self._of(line).checkpoint(checkpoint, str(line.get("values", "")))
        self._seen.add(checkpoint)
        self.report.checkpoints += 1
        if not self._is_all:
            self._witnesses.meet(checkpoint)

    def _serial(self, checkpoint: Checkpoint) -> None:
        self._end_stream()
        if self._serials is None:
            self._serials = _Serials(self.report)
        self._serials.add(checkpoint)
        self._witnesses.meet(checkpoint)

    def _finish(self) -> None:
        self._end_stream()
        head = self._head or {}
        for name, counter in head.get("streams", {}).items():
            if name not in self.report.streams:
                self.report.streams[name] = StreamReport()
                if counter > int(head.get("after") or 0):
                    self.report.add(name, 1, "missing", "The stream gave these numbers; no event has them.", counter)
        if self._is_all:
            made = self._serials.sum if self._serials else _Sum()
            if made != self._seen:
                self.report.add(
                    CHECKPOINTS, 0, "differs", "The checkpoints of the streams are not those of the list of serials."
                )
        self._witnesses.finish()


class _Stream:
    """One stream of an export. Under each checkpoint come the events that it seals, then those that none seals yet."""

    def __init__(
        self, name: str, report: Report, keys: Mapping[str, Ed25519PublicKey], counter: int, after: int
    ) -> None:
        self.name = name
        self._report = report
        self._own = report.streams[name] = StreamReport(sealed=after)
        self._keys = keys
        self._counter = counter
        self._is_part = after > 0
        """Until the first checkpoint: the export begins somewhere, and what the chain was there is not told."""
        self._next = after + 1
        self._link: bytes | None = None if self._is_part else first_link(name)
        """The chain's value before ``_next``; None where that is not known."""
        self._seal: Checkpoint | None = None
        self._values = b""
        self._is_doubted = False

    def checkpoint(self, seal: Checkpoint, values: str) -> None:
        self._close()
        self._own.checkpoints += 1
        expected = self._own.sealed + 1
        if seal.first > expected and not self._is_part:
            self._problem(expected, "unsealed", "No checkpoint seals them: it was removed.", seal.first - 1)
        elif seal.first < expected:
            self._problem(seal.first, "sealed_twice", f"Checkpoint {seal.serial} seals what another one sealed.")
        if self._next < seal.first and not self._is_part:
            self._miss(seal.first)
        self._own.unsealed, self._is_part = 0, False
        self._check_signature(seal)
        if self._link is not None and self._next == seal.first and seal.previous != self._link.hex():
            self._problem(
                seal.first, "chain_broken", f"Checkpoint {seal.serial} does not go on where the chain was.", seal.last
            )
        self._seal, self._values = seal, _values(values)
        fits = len(self._values) == DIGEST_BYTES * (seal.last - seal.first + 1)
        is_its_own = hashlib.sha256(self._values).hexdigest() == seal.links and self._at(seal.last).hex() == seal.hash
        self._is_doubted = not (fits and is_its_own)
        if self._is_doubted:  # the events can be checked all the same, but only all together
            self._problem(
                seal.first,
                "values_changed",
                f"The chain's values under checkpoint {seal.serial} were changed.",
                seal.last,
            )
        self._next = max(self._next, seal.first)
        self._link = _unhex(seal.previous) if self._next == seal.first else self._at(self._next - 1)

    def _check_signature(self, seal: Checkpoint) -> None:
        key = self._keys.get(seal.key)
        if key is None:
            why = f"Signed by the key {seal.key}, which is not known, and which no known key vouches for."
            self._problem(seal.first, "unknown_key", why, seal.last)
        elif not is_signed(key, seal.signature, seal.statement):
            why = f"The signature of checkpoint {seal.serial} does not fit what it says."
            self._problem(seal.first, "forged", why, seal.last)

    def event(self, event: Mapping[str, Any]) -> None:
        number = event.get("number")
        if type(number) is not int:
            raise Malformed(f"An event of {self.name} has no number.")
        self._own.events += 1
        if self._seal and number > self._seal.last:
            self._close()
        if not 1 <= number <= self._counter:
            self._problem(number, "inserted", "The stream never gave this number.")
            return
        if number < self._next:
            self._problem(number, "reordered", "It comes twice, or should have come before.")
            return
        if number > self._next:
            self._miss(number)
        digest = digest_of(texts_of(event))
        if self._seal:
            self._check(number, digest)
        else:
            self._own.unsealed += 1
            self._link = link(self._link, digest) if self._link is not None else None
        self._next = number + 1

    def _check(self, number: int, digest: bytes) -> None:
        if self._is_doubted:
            self._link = link(self._link, digest) if self._link is not None else None
            return
        before, sealed = self._link or b"", self._at(number)
        if link(before, digest) != sealed:
            if link(before, NO_EVENT) == sealed:
                self._problem(number, "inserted", "It was not there when its number was sealed.")
            else:
                self._problem(number, "changed", "It is not what was sealed.")
        self._link = sealed

    def _miss(self, upto: int) -> None:
        """The numbers from the next one to before ``upto`` do not come any more."""
        self._problem(self._next, "missing", "There is no event with this number.", upto - 1)
        self._link = self._at(upto - 1) if self._seal and not self._is_doubted else None
        self._next = upto

    def _close(self) -> None:
        """The end of a checkpoint: nothing that it seals may be left over."""
        seal = self._seal
        if seal is None:
            return
        if self._next <= seal.last:
            self._miss(seal.last + 1)
        if self._is_doubted and self._link is not None and self._link.hex() != seal.hash:
            self._problem(seal.first, "changed", "At least one of them is not what was sealed.", seal.last)
        self._own.sealed = max(self._own.sealed, seal.last)
        self._link = _unhex(seal.hash)
        self._seal = None

    def finish(self) -> None:
        self._close()
        if self._next <= self._counter:
            self._miss(self._counter + 1)

    def _at(self, number: int) -> bytes:
        """The chain's value at a number under the present checkpoint."""
        start = (number - self._seal.first) * DIGEST_BYTES if self._seal else 0
        return self._values[start : start + DIGEST_BYTES]

    def _problem(self, number: int, what: str, detail: str, last: int | None = None) -> None:
        self._report.add(self.name, number, what, detail, last)


class _Serials:
    """All checkpoints in the order in which they were made: none is missing, each names the one before."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._next = 1
        self._parent = "0" * 2 * DIGEST_BYTES
        self.sum = _Sum()

    def add(self, checkpoint: Checkpoint) -> None:
        self.sum.add(checkpoint)
        where = f"It is of {checkpoint.stream}, {checkpoint.first} to {checkpoint.last}."
        if checkpoint.serial > self._next:
            self._report.add(
                CHECKPOINTS, self._next, "missing", "Checkpoints were removed.", last=checkpoint.serial - 1
            )
        elif checkpoint.serial < self._next:
            self._report.add(CHECKPOINTS, checkpoint.serial, "reordered", where)
        elif checkpoint.parent != self._parent:
            self._report.add(
                CHECKPOINTS, checkpoint.serial, "chain_broken", f"The one before it was another one. {where}"
            )
        self._next = checkpoint.serial + 1
        self._parent = checkpoint.digest


class _Witnesses:
    """Checkpoints kept elsewhere, met with those of the export, both in the order in which they were made."""

    def __init__(self, kept: Iterator[Checkpoint], report: Report) -> None:
        self._kept = kept
        self._report = report
        self._last = 0
        self._one = next(kept, None)

    def meet(self, checkpoint: Checkpoint) -> None:
        while self._one is not None and self._one.serial < checkpoint.serial:
            self._lost(self._one)
            self._take()
        while self._one is not None and self._one.serial == checkpoint.serial:
            if self._one.digest == checkpoint.digest:
                self._report.witnessed += 1
            else:
                self._lost(self._one)
            self._take()

    def finish(self) -> None:
        while self._one is not None:
            self._lost(self._one)
            self._take()

    def _take(self) -> None:
        self._last = max(self._last, self._one.serial if self._one else 0)
        self._one = next(self._kept, None)
        while self._one is not None and self._one.serial <= self._last:
            self._report.add(
                CHECKPOINTS, self._one.serial, "rewound",
                "The other record went on from an earlier checkpoint: the database was put back to an older state.",
            )  # fmt: skip
            self._one = next(self._kept, None)

    def _lost(self, kept: Checkpoint) -> None:
        self._report.add(
            kept.stream, kept.first, "rewritten",
            f"Checkpoint {kept.serial}, made at {kept.at}, is not in this trail, or is another one.", kept.last,
        )  # fmt: skip


class _Sum:
    """Which checkpoints there were, in whatever order: the sum of their digests."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, checkpoint: Checkpoint) -> None:
        self._sum = (self._sum + int(checkpoint.digest, 16)) % 2**256

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sum) and self._sum == other._sum

    __hash__ = None  # type: ignore[assignment]


def _parse(raw: str | bytes, number: int) -> Mapping[str, Any]:
    try:
        line = json.loads(raw, parse_float=_number)
    except ValueError as error:
        raise Malformed(f"Line {number} is not JSON: {error}") from error
    if not isinstance(line, dict):
        raise Malformed(f"Line {number} is no object.")
    return line


def _number(text: str) -> float | int:
    number = float(text)
    return int(number) if number.is_integer() else number


def _values(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
