"""The trail as lines of JSON (``docs/audit.md``), in parts that are made one at a time: memory does not grow with it.

What is asked for is fixed at the beginning: what is written or sealed meanwhile is left to the next export.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connection
from django.db.models import Max

from .models import AuditCheckpoint, AuditEvent, AuditKey
from .proof.chain import FIELDS, Checkpoint, load_data
from .protection import missing_triggers
from .sealer import audit_streams
from .table import NUMBER, read_strays, read_texts

VERSION: Final = 1
AT_ONCE: Final = 1_000
"""Events in one part."""
_SEAL: Final = Checkpoint.__slots__


@dataclass(frozen=True, slots=True)
class Export:
    """All streams; or one, from after a number on."""

    stream: str | None = None
    after: int = 0

    def parts(self) -> Iterator[bytes]:
        """Whole lines, a few hundred KB at a time."""
        serials = AuditCheckpoint.objects.aggregate(end=Max("serial"))["end"] or 0
        # The counters are read after the checkpoints: what is sealed has been counted.
        counters = dict(audit_streams())
        if self.stream is None:
            names = sorted({*counters, *_streams_of(AuditEvent), *_streams_of(AuditCheckpoint)})
        else:
            names = [self.stream]
            counters = {self.stream: counters.get(self.stream, 0)}
        yield b"".join(_line("key", key) for key in AuditKey.objects.values("key", "public", "at", "by", "signature"))
        yield _line(
            "head",
            {
                "version": VERSION,
                "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "project": self.stream,
                "after": self.after,
                "streams": counters,
                "missing_triggers": missing_triggers(connection),
            },
        )
        for name in names:
            yield from self._stream_parts(name, counters.get(name, 0), serials)
        if self.stream is None:
            yield from _serials(serials)
        yield _line("end", {})

    def _stream_parts(self, name: str, counter: int, serials: int) -> Iterator[bytes]:
        done = self.after
        for seal in self._seals(name, serials):
            yield from _events(name, done, seal["first"] - 1)
            values = base64.b64encode(seal.pop("values_at")).decode()
            yield _line("checkpoint", {**seal, "values": values})
            yield from _events(name, max(done, seal["first"] - 1), seal["last"])
            done = max(done, seal["last"])
        yield from _events(name, done, counter)
        yield b"".join(_event(texts) for texts in read_strays(name))

    def _seals(self, name: str, serials: int) -> Iterator[dict[str, Any]]:
        """Checkpoints in the order of their events, a few at a time."""
        last = 0
        found = AuditCheckpoint.objects.filter(stream=name, serial__lte=serials, first__gt=self.after).order_by("last")
        while part := list(found.filter(last__gt=last).values(*_SEAL, "values_at")[:50]):
            last = part[-1]["last"]
            yield from part


def _streams_of(model: type[AuditEvent] | type[AuditCheckpoint]) -> set[str]:
    return set(model._default_manager.order_by().values_list("stream", flat=True).distinct())


def _serials(upto: int) -> Iterator[bytes]:
    after = 0
    found = AuditCheckpoint.objects.filter(serial__lte=upto).order_by("serial").values(*_SEAL)
    while part := list(found.filter(serial__gt=after)[:AT_ONCE]):
        after = part[-1]["serial"]
        yield b"".join(_line("serial", seal) for seal in part)


def _events(stream: str, after: int, upto: int) -> Iterator[bytes]:
    while after < upto and (part := read_texts(stream, after, upto, AT_ONCE)):
        yield b"".join(_event(texts) for texts in part)
        after = int(part[-1][NUMBER])


def _event(texts: Sequence[str]) -> bytes:
    event: dict[str, Any] = {"type": "event", **dict(zip(FIELDS, texts, strict=True))}
    event["number"] = int(texts[NUMBER])
    for name in ("project", "node", "run", "approval"):
        event[name] = event[name] or None
    try:
        event["data"] = load_data(event["data"])
    except (ValueError, RecursionError):  # somebody wrote over it
        event["data_text"], event["data"] = event["data"], None
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _line(kind: str, values: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind, **values}, separators=(",", ":")).encode() + b"\n"
