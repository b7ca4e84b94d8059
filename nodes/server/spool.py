"""The spool: every record of a run, in numbered segments, until the hub has them.

A segment ``spool-<generation>-<n>`` is a head (magic, format, generation, number, first
``origin_seq``, checksum) and frames of ``nodes.contract.record``. One process writes it,
the run's supervisor; another reads it meanwhile.
"""

import errno
import os
import re
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import google_crc32c
import structlog

from nodes.contract import events, record
from nodes.contract.limits import BATCH_RECORDS, SPOOL_RUN_BYTES, SPOOL_SEGMENT_BYTES

from .files import PRIVATE_FILE, sync_dir, write_all

logger = structlog.get_logger(__name__)

FORMAT = 1
_MAGIC = b"AHSP"
_HEAD = struct.Struct(">4sHHIIQ")
_CRC = struct.Struct(">I")
HEAD_BYTES = _HEAD.size + _CRC.size
BATCH_BYTES = 192 * 1024
"""Frames handed out at once at most; with its envelope that fits a frame of the link."""
_READ_BYTES = BATCH_BYTES + record.FRAME_HEAD + record.MAX_BODY
_LENGTH_BEGINS = re.compile(rb"(?=\x00[\x00\x01])")
_NAME = re.compile(r"spool-(\d+)-(\d+)")


class NotASpool(ValueError):
    """A segment whose head is damaged, or written in a format this version does not know."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the spool of one generation: a segment's number and a byte in it."""

    segment: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    path: Path
    generation: int
    number: int

    def first_seq(self) -> int | None:
        """The ``origin_seq`` its first record has or will have. None while the head is not whole; ``NotASpool``."""
        try:
            with self.path.open("rb") as file:
                head = file.read(HEAD_BYTES)
        except FileNotFoundError:
            return None
        return None if len(head) < HEAD_BYTES else _read_head(head, self)


def _make_head(generation: int, number: int, first_seq: int) -> bytes:
    head = _HEAD.pack(_MAGIC, FORMAT, 0, generation, number, first_seq)
    return head + _CRC.pack(google_crc32c.value(head))


def _read_head(head: bytes, segment: Segment) -> int:
    magic, version, _, generation, number, first_seq = _HEAD.unpack_from(head)
    if magic != _MAGIC or _CRC.unpack_from(head, _HEAD.size)[0] != google_crc32c.value(head[: _HEAD.size]):
        raise NotASpool(f"{segment.path} has a damaged head")
    if version != FORMAT:
        raise NotASpool(f"{segment.path} has format {version}, this version reads {FORMAT}")
    if (generation, number) != (segment.generation, segment.number):
        raise NotASpool(f"{segment.path} holds segment {generation}-{number}")
    seq: int = first_seq
    return seq


def segments_of(directory: Path, generation: int) -> list[Segment]:
    """The segments that are there, in order."""
    found = []
    for path in directory.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and int(match[1]) == generation:
            found.append(Segment(path, generation, int(match[2])))
    return sorted(found, key=lambda segment: segment.number)


def generations_of(directory: Path) -> list[int]:
    """The generations of which segments are there, in order."""
    matches = (_NAME.fullmatch(path.name) for path in directory.iterdir())
    return sorted({int(match[1]) for match in matches if match})


class SpoolWriter:
    """Appends records: ``append`` collects, ``flush`` writes them in one go and syncs what must be.

    Begins a segment of its own after the last one, so that nothing is ever written behind
    bytes that another process may have left torn.
    """

    def __init__(
        self,
        directory: Path,
        generation: int,
        next_seq: int = 1,
        *,
        run_bytes: int = SPOOL_RUN_BYTES,
        segment_bytes: int = SPOOL_SEGMENT_BYTES,
    ) -> None:
        self._directory = directory
        self.generation = generation
        self._next_seq = next_seq
        self._run_bytes = run_bytes
        self._segment_bytes = segment_bytes
        self._buffer = bytearray()
        self._must_sync = False
        self._is_dirty = False
        self._is_blocked = False
        present = segments_of(directory, generation)
        self._unacked = deque[tuple[int, int]]()  # (last origin_seq, bytes) of each whole segment
        self._written_seq = next_seq - 1
        self._fd = -1
        self._open(present[-1].number + 1 if present else 1)

    @property
    def next_seq(self) -> int:
        """The number of the next record."""
        return self._next_seq

    @property
    def last_seq(self) -> int:
        """The last record that readers can find."""
        return self._written_seq

    @property
    def position(self) -> Position:
        """Behind the last byte that readers can find."""
        return Position(self._number, self._size)

    @property
    def is_dirty(self) -> bool:
        """Whether something was written and not synced."""
        return self._is_dirty

    @property
    def is_blocked(self) -> bool:
        """Whether the disk refused the last write for want of space; ``flush`` tries again."""
        return self._is_blocked

    @property
    def is_full(self) -> bool:
        """At the bound: whoever produces records must stop until the hub has acknowledged some."""
        unacked = sum(size for _, size in self._unacked) + self._size + len(self._buffer)
        return self._is_blocked or unacked >= self._run_bytes

    def append(self, payload: events.Payload, occurred_us: int | None = None) -> int:
        """Number a record; it is readable after ``flush``. ``ValueError`` if it is over ``EVENT_BYTES``."""
        self._buffer += record.encode(self._next_seq, payload, occurred_us)
        self._must_sync |= payload.TYPE in events.SYNCED
        self._next_seq += 1
        return self._next_seq - 1

    def flush(self) -> bool:
        """Write what was appended; synced if a type demands it. False if the disk is full: all is kept for later."""
        if not self._buffer and not self._must_sync:
            return True
        try:
            if self._size >= self._segment_bytes:
                self._roll()
            write_all(self._fd, self._buffer)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            os.ftruncate(self._fd, self._size)
            self._is_blocked = True
            return False
        self._is_blocked = False
        self._size += len(self._buffer)
        self._written_seq = self._next_seq - 1
        self._buffer.clear()
        self._is_dirty = True
        if self._must_sync:
            self.sync()
        return True

    def sync(self) -> None:
        """Put what was written on stable storage."""
        os.fdatasync(self._fd)
        self._is_dirty = self._must_sync = False

    def acknowledge(self, origin_seq: int) -> None:
        """The hub has committed everything up to here: those bytes count against the bound no more."""
        while self._unacked and self._unacked[0][0] <= origin_seq:
            self._unacked.popleft()

    def close(self) -> None:
        os.close(self._fd)

    def _roll(self) -> None:
        os.fdatasync(self._fd)
        full, size = self._fd, self._size
        self._open(self._number + 1)
        os.close(full)
        self._unacked.append((self._written_seq, size))

    def _open(self, number: int) -> None:
        path = self._directory / f"spool-{self.generation}-{number}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, PRIVATE_FILE)
        try:
            write_all(fd, _make_head(self.generation, number, self._written_seq + 1))
            os.fdatasync(fd)
            sync_dir(self._directory)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        self._fd, self._number, self._size = fd, number, HEAD_BYTES


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames as they lie in the spool, one after the other, and where the next one will be."""

    frames: bytes
    count: int
    first_seq: int
    last_seq: int
    end: Position


class SpoolReader:
    """Reads on from a record, never decoding payloads.

    At bytes that are no frame it goes on at the next frame that is one, so that the
    numbers show what is missing; the hub says it. While nothing good has come behind such
    bytes it waits at them, since a writer may be in the middle of them. Not thread-safe.
    """

    def __init__(self, directory: Path, generation: int, after: int = 0) -> None:
        self._directory = directory
        self._generation = generation
        self.last_seq = after
        """The last record handed out, or behind us from the start."""
        self.position = self._find(after)
        self.skipped_bytes = 0
        """How much was passed over, as no record could be made out of it."""

    def read(
        self, until: Position | None = None, max_records: int = BATCH_RECORDS, max_bytes: int = BATCH_BYTES
    ) -> Batch | None:
        """The next records, up to ``until`` (what the supervisor announced); None if there are none now."""
        taken: list[memoryview] = []
        size = first = 0
        for segment in segments_of(self._directory, self._generation):
            if segment.number < self.position.segment or (until and segment.number > until.segment):
                continue
            end = until.offset if until and until.segment == segment.number else None
            self._enter(segment)
            for after, seq, frame in self._frames_of(segment, end):
                if seq > self.last_seq:
                    if len(taken) >= max_records or (taken and size + len(frame) > max_bytes):
                        return Batch(b"".join(taken), len(taken), first, self.last_seq, self.position)
                    taken.append(frame)
                    size += len(frame)
                    first = first or seq
                    self.last_seq = seq
                self.position = Position(segment.number, after)
        return Batch(b"".join(taken), len(taken), first, self.last_seq, self.position) if taken else None

    def waiting_bytes(self) -> int:
        """Bytes behind the last good record, of which nothing could be made so far."""
        rest = [s for s in segments_of(self._directory, self._generation) if s.number >= self.position.segment]
        total = sum(max(segment.path.stat().st_size - HEAD_BYTES, 0) for segment in rest)
        return total - max(self.position.offset - HEAD_BYTES, 0) if rest else 0

    def _enter(self, segment: Segment) -> None:
        """Go on in ``segment``; its writer has left the one before for good."""
        if segment.number == self.position.segment:
            return
        left = Segment(
            self._directory / f"spool-{self._generation}-{self.position.segment}", self._generation, segment.number
        )
        if left.path.exists():
            self.skipped_bytes += left.path.stat().st_size - self.position.offset
        self.position = Position(segment.number, HEAD_BYTES)

    def _frames_of(self, segment: Segment, end: int | None) -> Iterator[tuple[int, int, memoryview]]:
        """From our position on: the offset behind a good frame, its ``origin_seq``, the whole frame."""
        with segment.path.open("rb") as file:
            fd = file.fileno()
            size = os.fstat(fd).st_size if end is None else end
            at = self.position.offset
            while at < size:
                data = os.pread(fd, min(_READ_BYTES, size - at), at)
                base, is_whole = at, at + len(data) == size
                try:
                    for after, body in record.frames(data):
                        frame = memoryview(data)[at - base : after]
                        at = base + after
                        yield at, record.origin_seq_of(body), frame
                except record.BadFrame as bad:
                    if bad.is_torn and not is_whole and at > base:
                        continue  # only our piece of the file ends here
                    found = _find_frame(fd, at + 1, size, self.last_seq)
                    if found is None:
                        return
                    logger.warning("spool.bytes_skipped", segment=segment.path.name, at=at, bytes=found - at)
                    self.skipped_bytes += found - at
                    at = found

    def _find(self, after: int) -> Position:
        """The segment in which the record behind ``after`` is, or will be."""
        best = Position(0, HEAD_BYTES)
        for segment in segments_of(self._directory, self._generation):
            try:
                first = segment.first_seq()
            except NotASpool as error:
                logger.warning("spool.bad_head", error=str(error))
                continue
            if first is None or (first > after + 1 and best.segment):
                break
            best = Position(segment.number, HEAD_BYTES)
            if first > after:
                break
        return best


def _find_frame(fd: int, start: int, size: int, after_seq: int) -> int | None:
    """The offset of the next good frame with a number over ``after_seq``, from ``start`` on.

    Only where two bytes could begin a length is a checksum computed; JSON has no such bytes.
    """
    window = 4 * _READ_BYTES
    for base in range(start, size, window):
        data = os.pread(fd, min(window + record.FRAME_HEAD + record.MAX_BODY, size - base), base)
        for candidate in _LENGTH_BEGINS.finditer(data):
            offset = candidate.start()
            if offset >= window:
                break
            try:
                _, body = next(record.frames(data, offset))
            except (record.BadFrame, StopIteration):
                continue
            if record.origin_seq_of(body) > after_seq:
                return base + offset
    return None


def delete_acknowledged(directory: Path, generation: int, acked: int) -> int:
    """Remove the segments of which the hub has every record, but never the last; returns how many.

    Segments of earlier generations are removed as well: nothing will ask for them.
    """
    removed = 0
    present = segments_of(directory, generation)
    for segment, following in pairwise(present):
        try:
            first = following.first_seq()
        except NotASpool:
            break
        if first is None or first > acked + 1:
            break
        segment.path.unlink(missing_ok=True)
        removed += 1
    for path in directory.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and int(match[1]) < generation:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
