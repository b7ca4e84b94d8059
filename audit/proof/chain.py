"""The canonical form of the trail: which bytes are hashed and signed. ``docs/audit.md`` says it for other programs.

It never changes: what is sealed once must verify for ever. Another form would be a version of its own.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

FIELDS: Final = (
    "id", "stream", "number", "name", "at", "actor_kind", "actor_id", "actor_label", "object_kind", "object_id",
    "project", "node", "run", "approval", "artifact", "address", "user_agent", "data",
)  # fmt: skip
"""An event's columns, in the order in which they are hashed."""
DIGEST_BYTES: Final = 32
NO_EVENT: Final = bytes(DIGEST_BYTES)
"""In place of the digest of an event that was gone already when its number was sealed."""
_EVENT: Final = b"agenthub audit event 1\n"
_STREAM: Final = b"agenthub audit stream 1\n"
_CHECKPOINT: Final = b"agenthub audit checkpoint 1\n"
_KEY: Final = b"agenthub audit key 1\n"


class Malformed(ValueError):
    """A line that is none of the trail's."""


def prefixed(parts: Iterable[str]) -> bytes:
    """Each part as UTF-8 behind its length in four bytes, the most significant first."""
    encoded = (part.encode("utf-8", "surrogatepass") for part in parts)
    return b"".join(piece for raw in encoded for piece in (len(raw).to_bytes(4, "big"), raw))


def digest_of(texts: Sequence[str]) -> bytes:
    """The digest of an event, of its columns as texts in the order of ``FIELDS``."""
    return hashlib.sha256(_EVENT + prefixed(texts)).digest()


def first_link(stream: str) -> bytes:
    """What a stream's chain begins with, before its first event."""
    return hashlib.sha256(_STREAM + prefixed([stream])).digest()


def link(previous: bytes, digest: bytes) -> bytes:
    """The chain's next value."""
    return hashlib.sha256(previous + digest).digest()


def links(previous: bytes, digests: Iterable[bytes]) -> bytes:
    """The chain's values after ``previous``, one for each digest, one behind the other."""
    values = bytearray()
    for digest in digests:
        previous = link(previous, digest)
        values += previous
    return bytes(values)


def load_data(text: str) -> Any:
    """An event's data. Two databases may keep one number as ``1e2`` and ``100``: a whole number becomes an integer."""
    return json.loads(text, parse_float=_number)


def _number(text: str) -> float | int:
    number = float(text)
    return int(number) if number.is_integer() else number


def data_text(data: Any) -> str:
    """Data as it is hashed: keys in the order of their code points, no spaces, nothing escaped without need."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def texts_of(event: Mapping[str, Any]) -> list[str]:
    """An event of an export, as texts in the order of ``FIELDS``. Raises ``Malformed``."""
    try:
        texts = ["" if (value := event[name]) is None else str(value) for name in FIELDS[:-1]]
        texts.append(data_text(event["data"]) if "data_text" not in event else str(event["data_text"]))
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"An event of the trail has no usable {error}.") from error
    return texts


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is signed: a stream's chain from one number to another, and the checkpoint before, of whatever stream.

    ``previous`` and ``hash`` are the chain's values before ``first`` and at ``last``; ``links`` is the digest of all
    values from ``first`` to ``last``; ``parent`` is the digest of the checkpoint with the serial before. Hex, all.
    """

    serial: int
    stream: str
    first: int
    last: int
    at: str
    previous: str
    hash: str
    links: str
    parent: str
    key: str
    signature: str = ""

    @property
    def statement(self) -> bytes:
        """The bytes that are signed."""
        return _CHECKPOINT + prefixed(str(value) for value in list(asdict(self).values())[:-1])

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.statement).hexdigest()

    def signed(self, signature: bytes) -> "Checkpoint":
        return replace(self, signature=base64.b64encode(signature).decode())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Checkpoint":
        """Raises ``Malformed``."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = line.get(field.name)
            if type(value) is not (int if field.name in ("serial", "first", "last") else str):
                raise Malformed(f"A checkpoint has no usable {field.name}.")
            values[field.name] = value
        return cls(**values)


def key_statement(key: str, public: str, at: str, by: str) -> bytes:
    """What the former key signs of the next one."""
    return _KEY + prefixed([key, public, at, by])
