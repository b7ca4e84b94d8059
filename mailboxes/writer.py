"""One writer thread per process: what waits to be written is written together, so that many share one disk flush.

Whatever queued up while the last commit ran is committed next. An answer is given after the commit, never before. A
piece of work that fails takes none of the others with it, and one that nobody waits for any more is not begun.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from itertools import groupby
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import structlog
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)

from nodes.contract.errors import HubError, Unavailable

logger = structlog.get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R")
Work = Callable[[Sequence[T]], Sequence[R | HubError]]
"""Writes many items within the transaction at hand, and says of each what came of it, in order."""

AT_ONCE: Final = 256
"""Items in one transaction at most."""
WAITING: Final = 4_096
"""Items that wait at most; whoever comes then is told at once that nothing was written."""
WAIT_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 10.0
"""After this long without work the thread ends, and its connection with it."""
_UNKNOWN: Final = "The database did not answer, so that nobody knows whether this was written; ask again."
_NOT_WRITTEN: Final = "The database is behind: this was not written. Ask again in some seconds."


class _Job:
    __slots__ = ("done", "item", "work")

    def __init__(self, work: Work[Any, Any], item: Any) -> None:
        self.work = work
        self.item = item
        self.done: Future[Any] = Future()


class Writer:
    """``write`` waits for the answer, ``submit`` does not. The thread begins with the first item."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def write(self, work: Work[T, R], item: T) -> R:
        """What came of ``item``; its ``HubError`` is raised. Within a transaction it is a part of that one.

        Raises ``Unavailable`` when the database does not answer; what was not begun by then never is.
        """
        if connection.in_atomic_block:
            (result,) = work([item])
            if isinstance(result, HubError):
                raise result
            return result
        done = self.submit(work, item)
        try:
            return done.result(WAIT_SECONDS)
        except FutureTimeout:
            raise Unavailable(_NOT_WRITTEN if done.cancel() else _UNKNOWN) from None

    async def write_async(self, work: Work[T, R], item: T) -> R:
        """``write`` for an event loop: no thread is held while it waits. Not within a transaction.

        Of a caller that leaves, what was not begun is not written.
        """
        done = self.submit(work, item)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await asyncio.wrap_future(done)
        except TimeoutError:
            raise Unavailable(_NOT_WRITTEN if done.cancel() else _UNKNOWN) from None

    def submit(self, work: Work[T, R], item: T) -> "Future[R]":
        """From any thread, outside a transaction. The future has the result, or the ``HubError``; it may be cancelled
        until the thread begins with it. ``Unavailable`` where too much waits already."""
        job = _Job(work, item)
        with self._lock:
            if self._queue.qsize() >= WAITING:
                raise Unavailable(_NOT_WRITTEN)
            self._queue.put(job)
            if self._thread is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._run, name="mail-writer", daemon=True)
                self._thread.start()
        return job.done

    def _run(self) -> None:
        try:
            while jobs := self._take():
                if wanted := [job for job in jobs if job.done.set_running_or_notify_cancel()]:
                    commit(wanted)
        finally:
            connections.close_all()

    def _take(self) -> list[_Job]:
        """What waits, up to one transaction's worth; nothing once the thread is to end."""
        try:
            jobs = [self._queue.get(timeout=IDLE_SECONDS)]
        except Empty:
            with self._lock:
                if self._queue.empty():
                    self._thread = None
                    return []
            jobs = [self._queue.get()]
        while len(jobs) < AT_ONCE:
            try:
                jobs.append(self._queue.get_nowait())
            except Empty:
                break
        return jobs


def commit(jobs: Sequence[_Job]) -> None:
    """Write all and answer each; what fails together is tried in halves, for as long as callers wait. Raises nothing.

    One transaction for all, where a database has one writer at a time. Elsewhere one for each kind of work: each kind
    locks inboxes in one order, but the second would begin that order anew, behind what the first has locked.
    What is in conflict with what another process has just written is tried again, as it sees that now.
    """
    by_work: dict[Work[Any, Any], list[_Job]] = {}
    for job in jobs:
        by_work.setdefault(job.work, []).append(job)
    until = time.monotonic() + WAIT_SECONDS
    if connection.features.has_select_for_update:
        for group in by_work.values():
            _commit(group, until)
    else:
        _commit([job for group in by_work.values() for job in group], until)


def _commit(jobs: Sequence[_Job], until: float, *, is_again: bool = False) -> None:
    """``jobs`` of one kind stand together."""
    answers: list[tuple[_Job, Any]] = []
    is_written = False
    try:
        with transaction.atomic():
            for work, same in groupby(jobs, attrgetter("work")):
                group = list(same)
                answers += zip(group, work([job.item for job in group]), strict=True)
            is_written = True
    except Exception as error:  # noqa: BLE001  (top of a loop: one bad item must not fail all)
        is_unknown = is_written and isinstance(error, (OperationalError, InterfaceError))
        if isinstance(error, DatabaseError):
            connections.close_all()
        if len(jobs) > 1 and not is_unknown and time.monotonic() < until:
            _commit(jobs[: len(jobs) // 2], until)
            _commit(jobs[len(jobs) // 2 :], until)
            return
        if isinstance(error, IntegrityError) and not is_again:
            _commit(jobs, until, is_again=True)
            return
        _fail(jobs, error)
        return
    for job, answer in answers:
        if isinstance(answer, HubError):
            job.done.set_exception(answer)
        else:
            job.done.set_result(answer)


def _fail(jobs: Sequence[_Job], error: Exception) -> None:
    if isinstance(error, (OperationalError, InterfaceError)):
        logger.warning("mail.database_unavailable", error=str(error), items=len(jobs))
        error = Unavailable(_UNKNOWN)
    elif not isinstance(error, HubError):
        logger.error("mail.write_failed", exc_info=error)
    for job in jobs:
        job.done.set_exception(error)


writer = Writer()
"""This process's writer."""
