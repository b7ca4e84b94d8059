"""A record's bytes: made once by the supervisor, forwarded and stored without decoding more than needed.

A frame, as it lies in a spool and travels on the link, is::

    length u32 | crc32c u32 | body                         (big endian; length and crc are of the body)
    body = origin_seq u64 | occurred_us i64 | version u16 | type length u8 | type | payload JSON, UTF-8
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import google_crc32c

from .events import Payload
from .ids import now_us
from .limits import EVENT_BYTES

_FRAME = struct.Struct(">II")
_BODY = struct.Struct(">QqHB")
_SEQ = struct.Struct(">Q")
FRAME_HEAD = _FRAME.size
MAX_BODY = _BODY.size + 255 + EVENT_BYTES


class BadFrame(ValueError):
    """Torn or flipped bytes. ``offset`` is where the good prefix ends; ``is_torn`` says that it merely ends early."""

    def __init__(self, offset: int, why: str, *, is_torn: bool) -> None:
        super().__init__(f"{why} at byte {offset}")
        self.offset = offset
        self.is_torn = is_torn


class Record(NamedTuple):
    """One event as its origin wrote it; ``payload`` is JSON in UTF-8, never re-encoded."""

    origin_seq: int
    occurred_us: int
    version: int
    type: str
    payload: bytes


def encode(origin_seq: int, payload: Payload, occurred_us: int | None = None) -> bytes:
    """One frame. Raises ``ValueError`` for a payload over ``EVENT_BYTES``."""
    return encode_raw(origin_seq, payload.TYPE, payload.VERSION, payload.model_dump_json().encode(), occurred_us)


def encode_raw(origin_seq: int, type_: str, version: int, payload: bytes, occurred_us: int | None = None) -> bytes:
    """One frame from a payload that is JSON already."""
    if len(payload) > EVENT_BYTES:
        raise ValueError(f"{type_} payload has {len(payload)} bytes, at most {EVENT_BYTES} are allowed")
    name = type_.encode()
    head = _BODY.pack(origin_seq, now_us() if occurred_us is None else occurred_us, version, len(name))
    body = head + name + payload
    return _FRAME.pack(len(body), google_crc32c.value(body)) + body


def decode(body: bytes) -> Record:
    """The record in a frame's body, whose checksum was checked by ``frames``. A type's bytes may be anything."""
    seq, occurred, version, name_length = _BODY.unpack_from(body)
    start = _BODY.size + name_length
    return Record(seq, occurred, version, body[_BODY.size : start].decode("utf-8", "replace"), body[start:])


def origin_seq_of(body: bytes) -> int:
    """The number of the record in ``body``, without decoding the rest."""
    number: int = _SEQ.unpack_from(body)[0]
    return number


def frames(data: bytes | memoryview, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Every whole frame as (offset just after it, body). Raises ``BadFrame`` where the good prefix ends."""
    at, end = start, len(data)
    while at < end:
        if end - at < FRAME_HEAD:
            raise BadFrame(at, "a frame's head is cut off", is_torn=True)
        length, crc = _FRAME.unpack_from(data, at)
        if not _BODY.size <= length <= MAX_BODY:
            raise BadFrame(at, f"a frame claims {length} bytes", is_torn=False)
        after = at + FRAME_HEAD + length
        if after > end:
            raise BadFrame(at, "a frame is cut off", is_torn=True)
        body = bytes(data[at + FRAME_HEAD : after])
        if google_crc32c.value(body) != crc:
            raise BadFrame(at, "a frame's checksum is wrong", is_torn=False)
        yield after, body
        at = after
