"""End a run whose supervisor is gone: empty what is left of it, then say so behind its last good record."""

from collections.abc import Collection
from dataclasses import dataclass

import structlog

from nodes.contract import record
from nodes.contract.events import ENDINGS, GapFound, RunFailed
from nodes.contract.reasons import Reason

from . import proc
from .rundir import RunDir, RunLocked, Standing
from .spool import SpoolReader, SpoolWriter
from .sweep import sweep_now

logger = structlog.get_logger(__name__)

MESSAGES = {
    Reason.SUPERVISOR_LOST: "The run's supervisor died on the node; everything it had started was ended.",
    Reason.NODE_REBOOTED: "The node was restarted while the run was going on.",
    Reason.INTERNAL: "The run's supervisor could not begin; the node's log has the details.",
}


@dataclass(frozen=True, slots=True)
class Survey:
    """What a spool holds, read to its end. ``bad_bytes`` are those behind the last good record."""

    last_seq: int
    last_type: str
    bad_bytes: int


def survey(run: RunDir) -> Survey:
    """Read the whole spool of the present generation."""
    reader = SpoolReader(run.path, run.generation())
    last: record.Record | None = None
    while batch := reader.read():
        for _, body in record.frames(batch.frames):
            found = body
        last = record.decode(found)
    return Survey(last.origin_seq if last else 0, last.type if last else "", reader.waiting_bytes())


def settle(run: RunDir, *, parent: int | None = None, spare: Collection[int] = ()) -> bool:
    """Give a run without a supervisor its ending, once; whether it has one now.

    ``parent`` is this process if it is a subreaper: then its children other than ``spare``
    are what dead supervisors left, and are ended as well. False while somebody holds the
    run's lock. ``OSError`` if the disk does not take the records; trying again is safe.
    """
    try:
        lock = run.take_lock(wait=0.2)
    except RunLocked:
        return False
    try:
        standing = _standing_of(run)
        if standing in (Standing.ENDED, Standing.BURIED):
            return True
        if standing is Standing.UNKNOWN:
            return False
        sweep_now(run.run_id, parent, spare, seconds=3.0)
        _write_ending(run, Reason.INTERNAL if standing is Standing.ACCEPTED else _why(run))
        run.control_socket.unlink(missing_ok=True)
        return True
    finally:
        lock.release()


def _write_ending(run: RunDir, reason: Reason) -> None:
    found = survey(run) if run.has_begun() else Survey(0, "", 0)
    if found.last_type in ENDINGS:  # it had come that far, but not to saying so
        run.write_ended(found.last_seq)
        return
    if reason is Reason.NODE_REBOOTED:
        # The disk may have lost its last second, and the hub know more: what we number now must not meet its numbers.
        writer = SpoolWriter(run.path, run.begin_generation())
    else:
        writer = SpoolWriter(run.path, run.generation(), found.last_seq + 1)
    try:
        if found.bad_bytes:
            text = "The end of the run's records on the node's disk could not be read."
            writer.append(GapFound(after_origin_seq=found.last_seq, lost_bytes=found.bad_bytes, message=text))
        last = writer.append(RunFailed(reason=reason.value, message=MESSAGES[reason]))
        if not writer.flush():
            raise OSError(28, "No space left for the run's ending")
    finally:
        writer.close()
    run.write_ended(last)
    logger.warning("run.settled", run=run.run_id, reason=reason.value, origin_seq=last, bad_bytes=found.bad_bytes)


def _standing_of(run: RunDir) -> Standing:
    """As ``run.standing()``, for whoever holds the lock."""
    if (run.path / "tombstone").exists():
        return Standing.BURIED
    if run.ended_at() is not None:
        return Standing.ENDED
    if run.has_begun():
        return Standing.ORPHANED
    return Standing.ACCEPTED if run.has_spec() else Standing.UNKNOWN


def _why(run: RunDir) -> Reason:
    holder = run.holder()  # signed before the spool is begun, but not synced: one that is gone went with the machine
    rebooted = holder is None or holder.boot_id != proc.boot_id()
    return Reason.NODE_REBOOTED if rebooted else Reason.SUPERVISOR_LOST
