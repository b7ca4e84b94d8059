"""The sealer: chains each stream's events, and signs checkpoints of the chains. A loop of the control plane.

Events are sealed from their beginning, whatever version wrote them, a bounded number in each tick. What is sealed is
read outside of any transaction, since it cannot change; the transaction only adds checkpoints, under a lease.
"""

import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Max

from .leases import claim, is_held_elsewhere
from .models import AuditCheckpoint, AuditKey, Stream
from .proof.chain import DIGEST_BYTES, NO_EVENT, Checkpoint, digest_of, first_link, links
from .proof.keys import PRIVATE, Signer, load_or_make
from .proof.witness import FILE, append_checkpoint, last_checkpoint
from .services import INSTANCE, THE_HUB, record
from .table import NUMBER, read_texts

logger = structlog.get_logger(__name__)

LEASE: Final = "audit.sealer"
AT_ONCE: Final = 1_000
"""Events under one checkpoint, at most."""
IN_ONE_GO: Final = 20
"""Checkpoints added in one transaction, at most."""
PER_TICK: Final = 20_000
"""Events sealed in one tick, at most; the next one goes on."""
WITNESS_SECONDS: Final = 10.0
"""Between two lines of the file beside the database."""
FIRST_PARENT: Final = "0" * 2 * DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class Head:
    """How far a stream is sealed, and its chain's value there."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Draft:
    """A checkpoint to be: what of it does not depend on the others."""

    stream: str
    first: int
    last: int
    previous: bytes
    values: bytes

    @property
    def head(self) -> Head:
        return Head(self.last, self.values[-DIGEST_BYTES:])


class LeaseElsewhere(Exception):
    """Another process seals; what we know of the streams is old."""


class Sealer:
    """``tick(now)`` seals what is new. One per control plane; the lease has one of them work."""

    def __init__(self, directory: Path, owner: str = "") -> None:
        self._directory = directory
        self._owner = owner or secrets.token_hex(8)
        self._numbers: dict[str, int] | None = None
        self._heads: dict[str, Head] = {}
        self._signer: Signer | None = None
        self._stamp: tuple[int, int] = (0, 0)
        self._witness = Witness(directory / FILE)

    def tick(self, now: datetime) -> int:
        """How many events were sealed."""
        try:
            sealed = self._seal(now)
        except LeaseElsewhere:
            self._numbers, sealed = None, 0
        self._witness.tick()
        return sealed

    __call__ = tick

    def _seal(self, now: datetime) -> int:
        if is_held_elsewhere(LEASE, self._owner):
            raise LeaseElsewhere
        if self._numbers is None:
            ends = AuditCheckpoint.objects.order_by().values("stream").annotate(end=Max("last"))
            self._numbers, self._heads = dict(ends.values_list("stream", "end")), {}
        sealed, drafts = 0, list[Draft]()
        for draft in self._drafts(self._numbers):
            drafts.append(draft)
            if len(drafts) == IN_ONE_GO:
                sealed += self._store(drafts, now)
                drafts = []
        return sealed + (self._store(drafts, now) if drafts else 0)

    def _drafts(self, numbers: Mapping[str, int]) -> Iterator[Draft]:
        """Of what was committed when this was asked: a number is given out in the transaction that uses it."""
        left = PER_TICK
        for stream, last_number in audit_streams():
            while left > 0 and numbers.get(stream, 0) < last_number:
                head = self._heads.get(stream) or stored_head(stream)
                last = min(last_number, head.number + min(AT_ONCE, left))
                if last <= head.number:  # another process was here: it is known from now on
                    raise LeaseElsewhere
                draft = draft_of(stream, head, last)
                self._heads[stream] = draft.head
                left -= last - head.number
                yield draft
                if last == last_number:
                    break

    def _store(self, drafts: list[Draft], now: datetime) -> int:
        signer = self._current_signer()
        try:
            with transaction.atomic():
                if not claim(LEASE, self._owner):
                    raise LeaseElsewhere
                introduce_key(signer)
                add_checkpoints(drafts, signer, now)
        except IntegrityError as error:
            raise LeaseElsewhere from error
        except BaseException:
            self._numbers = None
            raise
        for draft in drafts:
            self._numbers[draft.stream] = draft.last  # type: ignore[index]
        return sum(draft.last - draft.first + 1 for draft in drafts)

    def _current_signer(self) -> Signer:
        """The home's key, read again when it was replaced."""
        try:
            found = (self._directory / PRIVATE).stat()
            stamp = (found.st_mtime_ns, found.st_ino)
        except FileNotFoundError:
            stamp = (0, 0)
        if self._signer is None or stamp != self._stamp:
            self._signer, self._stamp = load_or_make(self._directory), stamp
        return self._signer


def audit_streams() -> list[tuple[str, int]]:
    """The streams of the trail, with the last number that each gave."""
    return list(
        Stream.objects.filter(name__startswith="project:").union(Stream.objects.filter(name=INSTANCE), all=True)
        .values_list("name", "last_number")
    )  # fmt: skip


def stored_head(stream: str) -> Head:
    """Where the stream's last checkpoint ends."""
    end = AuditCheckpoint.objects.filter(stream=stream).order_by("-last").values_list("last", "hash").first()
    return Head(end[0], bytes.fromhex(end[1])) if end else Head(0, first_link(stream))


def draft_of(stream: str, head: Head, last: int) -> Draft:
    """The chain from ``head`` to ``last``. An event that is gone already leaves a place that says so."""
    digests = dict.fromkeys(range(head.number + 1, last + 1), NO_EVENT)
    digests |= {int(texts[NUMBER]): digest_of(texts) for texts in read_texts(stream, head.number, last, AT_ONCE)}
    if gone := sum(digest is NO_EVENT for digest in digests.values()):
        logger.error("audit.events_missing", stream=stream, first=head.number + 1, last=last, missing=gone)
    return Draft(stream, head.number + 1, last, head.hash, links(head.hash, digests.values()))


def introduce_key(signer: Signer) -> None:
    """Within the caller's transaction: offer the key to whoever verifies, and say in the trail that it signs."""
    _, is_new = AuditKey.objects.get_or_create(key=signer.key, defaults=signer.record.as_json())
    if is_new:
        record(None, "audit_key.introduced", by=THE_HUB, of=("audit_key", signer.key), vouched_by=signer.record.by)


def add_checkpoints(drafts: list[Draft], signer: Signer, now: datetime) -> None:
    """Within the caller's transaction, which holds the lease: each names the one before it, of whatever stream."""
    end = latest_checkpoint()
    serial, parent = (end.serial, end.digest) if end else (0, FIRST_PARENT)
    rows = []
    for draft in drafts:
        serial += 1
        checkpoint = Checkpoint(
            serial=serial,
            stream=draft.stream,
            first=draft.first,
            last=draft.last,
            at=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            previous=draft.previous.hex(),
            hash=draft.head.hash.hex(),
            links=hashlib.sha256(draft.values).hexdigest(),
            parent=parent,
            key=signer.key,
        )
        parent = checkpoint.digest
        signed = checkpoint.signed(signer.sign(checkpoint.statement))
        rows.append(AuditCheckpoint(values_at=draft.values, **signed.as_json()))
    AuditCheckpoint.objects.bulk_create(rows)


def latest_checkpoint(**which: str) -> Checkpoint | None:
    row = AuditCheckpoint.objects.filter(**which).order_by("-serial").values(*Checkpoint.__slots__).first()
    return Checkpoint(**row) if row else None


class Witness:
    """Copies the latest checkpoint to a file now and then, and notices when the database is behind the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: Checkpoint | None = None
        self._told_at: float | None = None

    def tick(self) -> None:
        """Once in ``WITNESS_SECONDS`` at most. A file that cannot be written is said, and tried again."""
        now = time.monotonic()
        if self._told_at is not None and now - self._told_at < WITNESS_SECONDS:
            return
        try:
            self._compare(latest_checkpoint())
        except OSError as error:
            logger.warning("audit.witness_unwritable", path=str(self._path), error=str(error))
        self._told_at = now

    def _compare(self, latest: Checkpoint | None) -> None:
        told = self._told or last_checkpoint(self._path)
        if told and not AuditCheckpoint.objects.filter(serial=told.serial, signature=told.signature).exists():
            logger.error("audit.rewound", serial=told.serial, stream=told.stream, number=told.last)
            with transaction.atomic():
                record(
                    None, "audit.rewound", by=THE_HUB, of=("audit_checkpoint", told.serial),
                    stream=told.stream, number=told.last, hash=told.hash, now_serial=latest.serial if latest else 0,
                )  # fmt: skip
            self._told = latest
            if latest:
                append_checkpoint(self._path, latest)
            return
        if latest and (told is None or latest.serial > told.serial):
            append_checkpoint(self._path, latest)
            told = latest
        self._told = told
