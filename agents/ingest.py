"""From a node's batches to committed events: one writer thread per process, natural group commit.

Whatever queued up while the last commit ran is committed next, in one transaction of at
most ``BATCH_RECORDS`` records per batch taken. Acknowledgements are handed out after the
commit, never before. While the database stands still the writer waits and tries again;
nothing is acknowledged and nothing is lost. A batch that cannot be stored ends its
connection: what came behind it there would begin after a hole.
"""

import re
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, connection, connections, transaction
from django.utils import timezone
from pydantic import ValidationError
from pydantic_core import from_json

from audit.many import execute_many
from nodes.contract.errors import Conflict
from nodes.contract.events import ENDINGS, PAYLOADS, STATEFUL, GapFound, Payload, Usage, ValidationFailed
from nodes.contract.ids import now_us
from nodes.contract.limits import BATCH_RECORDS, EXCERPT_CHARS
from nodes.contract.record import BadFrame, Record, decode, frames
from nodes.leases import HeldLease, LeaseLost, require_lease

from .event_table import NewEvent, insert_events
from .models import Run
from .services.events import announce
from .services.losses import note_turned_away, reopening
from .services.moves import reopen_run
from .services.reports import apply_report, why_unfit
from .states import ENDED
from .usage.services import note_usage
from .usage.telling import Told, read_usage

logger = structlog.get_logger(__name__)

_TYPE: Final = re.compile(r"[a-z][a-z0-9_.]{0,47}")
_ESCAPED_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_RETRY_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_MAX_GENERATION: Final = 2**31 - 1
_MAX_ORIGIN_SEQ: Final = 2**63 - 1
_MAX_VERSION: Final = 2**15 - 1
_MAX_US: Final = 250_000_000_000_000_000
"""Some time in the year 9892: what a clock may say and a calendar can still show."""


class BatchRefused(Conflict):
    code, grpc = "batch_refused", "ABORTED"
    message = "The hub cannot store a batch of this connection, and takes nothing that came after it."


@dataclass(frozen=True, slots=True)
class RunFrames:
    """A run's part of a batch: raw frames, as they lie in the node's spool."""

    run_id: UUID
    generation: int
    frames: bytes


@dataclass(frozen=True, slots=True)
class Acked:
    """How far a run is committed; ``refused`` is a code that says that its records are never taken."""

    run_id: UUID
    generation: int
    origin_seq: int
    refused: str = ""


@dataclass(slots=True)
class Batch:
    """What one ``Records`` frame brought over one node's link."""

    lease: HeldLease
    runs: Sequence[RunFrames]
    count: int
    done: "Future[list[Acked]]" = field(default_factory=Future)


class Ingest:
    """The writer. ``submit`` from any thread; the future's result is what to acknowledge."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._broken: dict[UUID, HeldLease] = {}
        """By node: the connection of which a batch could not be stored."""
        self._thread = threading.Thread(target=self._work, name="ingest", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Finish the transaction under way; what is still queued is not acknowledged and comes again."""
        self._stopping.set()
        self._queue.put(None)
        self._thread.join(timeout)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, batch: Batch) -> "Future[list[Acked]]":
        batch.done.set_running_or_notify_cancel()  # whoever waits may leave; the batch is stored all the same
        self._queue.put(batch)
        return batch.done

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                batches = self._take()
                if batches:
                    self._commit_for_certain(batches)
        finally:
            connections.close_all()

    def _take(self) -> list[Batch]:
        """The next batch, and what waits behind it, up to one transaction's worth."""
        first = self._queue.get()
        if first is None:
            return []
        batches, count = [first], first.count
        while count < BATCH_RECORDS:
            try:
                batch = self._queue.get_nowait()
            except Empty:
                break
            if batch is None:
                break
            batches.append(batch)
            count += batch.count
        return batches

    def _commit_for_certain(self, batches: list[Batch]) -> None:
        attempt = 0
        while not self._stopping.is_set():
            batches = [batch for batch in batches if not self._is_refused(batch)]
            try:
                commit_batches(batches)
                return
            except (OperationalError, InterfaceError) as error:
                delay = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                logger.warning("ingest.database_unavailable", error=str(error), retry_seconds=delay)
                attempt += 1
                connections.close_all()
                self._stopping.wait(delay)
            except Exception as error:  # noqa: BLE001  (top of the loop: one bad batch must not end ingest for all)
                if len(batches) == 1:
                    self._give_up(batches[0], error)
                    return
                for batch in batches:  # each by itself, so that the good ones are stored
                    self._commit_for_certain([batch])
                return

    def _give_up(self, batch: Batch, error: Exception) -> None:
        self._broken[batch.lease.node_id] = batch.lease
        if isinstance(error, LeaseLost):
            logger.info("ingest.lease_lost", node=str(batch.lease.node_id), epoch=batch.lease.epoch)
            batch.done.set_exception(error)
        else:
            logger.error("ingest.batch_failed", node=str(batch.lease.node_id), exc_info=error)
            batch.done.set_exception(BatchRefused())

    def _is_refused(self, batch: Batch) -> bool:
        if self._broken.get(batch.lease.node_id) != batch.lease:
            return False
        batch.done.set_exception(BatchRefused())
        return True


@dataclass(slots=True)
class _Progress:
    """What this transaction adds to one run."""

    run_id: UUID
    project_id: UUID
    seq: int
    origin_seq: int
    generation: int
    is_ended: bool
    is_presumed: bool
    """The hub ended it without its node's word: what the node still has of it is evidence."""
    may_reopen: bool
    is_reopened: bool = False
    turned_away: int = 0
    events: list[NewEvent] = field(default_factory=list)
    reports: list[Payload] = field(default_factory=list)
    usage: Told | None = None
    """The last of what it told of its tokens and cost."""


def commit_batches(batches: Sequence[Batch]) -> None:
    """Store all batches in one transaction, then tell readers and resolve each batch's future.

    Raises ``LeaseLost`` or ``DatabaseError`` with nothing stored.
    """
    if not batches:
        return
    recorded = now_us()
    with transaction.atomic():
        for lease in sorted({b.lease for b in batches}, key=lambda lease: lease.node_id):
            require_lease(lease)
        progress = _load({(b.lease.node_id, part.run_id) for b in batches for part in b.runs})
        for batch in batches:
            for part in batch.runs:
                known = progress.get((batch.lease.node_id, part.run_id))
                if known:
                    _add(known, part, recorded)
        added = [p for p in progress.values() if p.events]
        turned_away = [p for p in progress.values() if p.turned_away]
        if added:
            insert_events([event for p in added for event in p.events])
            _write_counters(added)
            note_usage({p.run_id: p.usage for p in added if p.usage}, timezone.now())
        if added or turned_away:
            _apply_reports([*added, *(p for p in turned_away if not p.events)])
    for p in turned_away:
        logger.warning("ingest.records_after_ending", run=str(p.run_id), records=p.turned_away)
    for p in added:
        announce(p.run_id, p.events)
    for batch in batches:
        batch.done.set_result([_ack(progress.get((batch.lease.node_id, part.run_id)), part) for part in batch.runs])


_LOADED: Final = (
    "node_id", "pk", "project_id", "last_seq", "acked_origin_seq", "generation", "state", "presumed_at", "reopened_at",
)  # fmt: skip


def _load(keys: Iterable[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], _Progress]:
    """The runs, locked. A node speaks for its own runs only: another node's are left out as unknown."""
    wanted = set(keys)
    runs = (
        Run.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk__in={run_id for _, run_id in wanted})
        .order_by("pk")
    )
    rows = runs.values_list(*_LOADED)
    return {
        (node_id, run_id): _Progress(
            run_id,
            project_id,
            seq,
            origin_seq,
            generation,
            state in ENDED,
            is_presumed=state in ENDED and presumed_at is not None,
            may_reopen=state in ENDED and presumed_at is not None and reopened_at is None,
        )
        for node_id, run_id, project_id, seq, origin_seq, generation, state, presumed_at, reopened_at in rows
        if (node_id, run_id) in wanted
    }


def _add(progress: _Progress, part: RunFrames, recorded: int) -> None:
    if progress.generation < part.generation <= _MAX_GENERATION:
        progress.generation, progress.origin_seq = part.generation, 0
    elif part.generation != progress.generation:
        return
    try:
        for _, body in frames(part.frames):
            record = decode(body)
            if record.origin_seq > progress.origin_seq:
                _add_record(progress, record, recorded)
    except BadFrame as error:  # the link's checksum is TLS's: this is a defect of the node, not of the wire
        logger.warning("ingest.bad_frame", run=str(part.run_id), error=str(error))


def _add_record(progress: _Progress, record: Record, recorded: int) -> None:
    if record.origin_seq > _MAX_ORIGIN_SEQ:
        raise BadFrame(0, f"a record claims the number {record.origin_seq}", is_torn=False)
    if not 0 <= record.occurred_us <= _MAX_US:
        record = record._replace(occurred_us=recorded)
    missing = record.origin_seq - progress.origin_seq - 1
    progress.origin_seq = record.origin_seq
    if progress.may_reopen:
        progress.is_ended = progress.is_presumed = progress.may_reopen = False
        progress.is_reopened = True
        _append(progress, _as_record(reopening(), recorded), recorded, is_ours=True)
    if progress.is_ended:
        progress.turned_away += 1
        return
    if missing:
        gap = GapFound(after_origin_seq=record.origin_seq - missing - 1, message=f"{missing} records are missing.")
        _append(progress, _as_record(gap, recorded), recorded, is_ours=True)
    report, problem = _read(record)
    if problem:
        excerpt = record.payload[:EXCERPT_CHARS].decode("utf-8", "replace")
        failed = ValidationFailed(source="node", error=problem, excerpt=excerpt, dropped_bytes=len(record.payload))
        record = _as_record(failed, record.occurred_us, record.origin_seq)
    elif report:
        progress.reports.append(report)
        progress.is_ended = record.type in ENDINGS
    elif record.type == Usage.TYPE and (told := read_usage(record.payload)):
        progress.usage = progress.usage.raised_by(told) if progress.usage else told
    _append(progress, record, recorded)


def _as_record(payload: Payload, occurred_us: int, origin_seq: int = 0) -> Record:
    return Record(origin_seq, occurred_us, payload.VERSION, payload.TYPE, payload.model_dump_json().encode())


def _append(progress: _Progress, record: Record, recorded: int, *, is_ours: bool = False) -> None:
    """Give the record the stream's next number. What the hub itself says has no origin number."""
    progress.seq += 1
    progress.events.append(
        NewEvent(
            progress.run_id,
            progress.seq,
            0 if is_ours else progress.generation,
            None if is_ours else record.origin_seq,
            record.type,
            record.version,
            record.occurred_us,
            recorded,
            record.payload.decode(),
        )
    )


def _read(record: Record) -> tuple[Payload | None, str]:
    """The payload if it bears state, and why the record cannot be served verbatim (empty if it can).

    Payloads are spliced into lines as they are, so each must be one line and one JSON object.
    """
    if record.type not in PAYLOADS and not _TYPE.fullmatch(record.type):
        return None, "the type's name is malformed"
    if record.version > _MAX_VERSION:
        return None, f"there is no version {record.version}"
    if b"\n" in record.payload or b"\r" in record.payload:
        return None, "the payload is not on one line"
    try:
        if record.type in STATEFUL:
            return _read_report(record)
        is_object = isinstance(from_json(record.payload, allow_inf_nan=False), dict)
    except ValidationError as error:
        first = error.errors()[0]
        return None, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except ValueError as error:
        return None, f"the payload is not JSON: {error}"
    return None, "" if is_object else "the payload is not an object"


def _read_report(record: Record) -> tuple[Payload | None, str]:
    """What bears state is stored by columns as well, and has to fit them. Raises ``ValidationError``."""
    if _ESCAPED_NUL.search(record.payload):
        return None, "the payload holds U+0000"
    report = PAYLOADS[record.type].read(record.payload)
    problem = why_unfit(report)
    return (None, problem) if problem else (report, "")


def _write_counters(added: Sequence[_Progress]) -> None:
    key = Run._meta.pk.get_db_prep_value
    with connection.cursor() as cursor:
        execute_many(
            cursor,
            "UPDATE agents_run SET last_seq = %s, acked_origin_seq = %s, generation = %s WHERE id = %s",
            [(p.seq, p.origin_seq, p.generation, key(p.run_id, connection)) for p in added],
        )


def _apply_reports(added: Sequence[_Progress]) -> None:
    """In the order of projects, since that is the order in which audit streams are locked."""
    telling = [p for p in added if p.reports or p.is_reopened or (p.turned_away and p.is_presumed)]
    reporting = {p.run_id: p for p in sorted(telling, key=lambda p: p.project_id)}
    runs = Run.objects.defer("prompt").in_bulk(list(reporting)) if reporting else {}
    for run_id, p in reporting.items():
        if p.is_reopened:
            reopen_run(runs[run_id])
        if p.turned_away and p.is_presumed:
            note_turned_away(runs[run_id], p.turned_away)
        for report in p.reports:
            apply_report(runs[run_id], report)


def _ack(progress: _Progress | None, part: RunFrames) -> Acked:
    if progress is None:
        return Acked(part.run_id, part.generation, 0, refused="unknown_run")
    if progress.is_presumed and not progress.may_reopen:
        return Acked(part.run_id, progress.generation, progress.origin_seq, refused="run_ended")
    return Acked(part.run_id, progress.generation, progress.origin_seq)
