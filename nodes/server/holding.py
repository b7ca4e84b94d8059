"""Every run that this node holds: taken back at start, followed, synced, cleaned up."""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from nodes.contract.ids import now_us
from nodes.pb import link_pb2 as pb

from .held import HeldRun, Starter
from .rundir import RunDir, Standing, all_runs
from .spool import segments_of

logger = structlog.get_logger(__name__)

UPKEEP_SECONDS = 1.0
SWEEP_SECONDS = 3600.0
RELEASE_PART = 0.75
"""At the bound all agents wait, until what waits for the hub is less than this part of it."""


class HeldRuns:
    """The runs by id. ``listener`` hears of every run that has something new for the hub."""

    def __init__(self, runs: Path, starter: Starter, spool_bytes: int) -> None:
        self.directory = runs
        self.listener: Callable[[HeldRun], None] | None = None
        self.is_full = False
        """Whether the spools of all runs together are at their bound."""
        self.is_linked = False
        """Whether the hub is there."""
        self._spool_bytes = spool_bytes
        self._starter = starter
        self._held: dict[str, HeldRun] = {}
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._syncing = ThreadPoolExecutor(1, thread_name_prefix="spool-sync")

    def __iter__(self) -> Iterator[HeldRun]:
        return iter(list(self._held.values()))

    def get(self, run_id: str) -> HeldRun | None:
        return self._held.get(run_id)

    @property
    def live_count(self) -> int:
        return sum(run.is_live for run in self._held.values())

    def notice_endings(self) -> None:
        """Look whether runs have ended of which their supervisors could not tell us yet: the hub may know already."""
        for run in self:
            run.notice_ending()

    def describe(self) -> list[pb.HeldRun]:
        return [run.describe() for run in self._held.values()]

    def take_back(self) -> int:
        """Hold every run that has a directory here and is not buried; returns how many."""
        for directory in all_runs(self.directory):
            try:
                if directory.standing() not in (Standing.BURIED, Standing.UNKNOWN):
                    self.hold(directory)
            except (OSError, ValueError):  # the others are taken back; of this one the hub will hear that it is gone
                logger.exception("run.not_taken_back", run=directory.run_id)
        return len(self._held)

    def hold(self, directory: RunDir) -> HeldRun:
        """Follow a run from now on. One that is held already stays as it is."""
        run = self._held.get(directory.run_id)
        if run is None:
            run = self._held[directory.run_id] = HeldRun(directory, self._starter, self._tell)
            self._followers[run.run_id] = asyncio.create_task(self._follow(run), name=f"run-{run.run_id}")
        return run

    async def keep_up(self) -> None:
        """Until cancelled: once a second sync what is dirty, note what is acknowledged, bury what is over."""
        swept = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._tick()
                if not swept or loop.time() - swept > SWEEP_SECONDS:
                    swept = loop.time()
                    await asyncio.to_thread(_sweep_tombstones, self.directory)
            except Exception:  # top of the loop: the next second tries again
                logger.exception("upkeep.failed")
            await asyncio.sleep(UPKEEP_SECONDS)

    async def say_link(self) -> None:
        """Until cancelled: tell the supervisors whether the hub is there. No disk is waited for here."""
        while True:
            try:
                await asyncio.gather(*(run.tell_link(self.is_linked) for run in self))
            except Exception:  # top of the loop: the next second tries again
                logger.exception("link.not_told")
            await asyncio.sleep(UPKEEP_SECONDS)

    async def aclose(self) -> None:
        """Let go of every run; the supervisors go on."""
        for task in self._followers.values():
            task.cancel()
        await asyncio.gather(*self._followers.values(), return_exceptions=True)
        await asyncio.to_thread(self._syncing.shutdown)

    async def _tick(self) -> None:
        dirty = [run for run in self._held.values() if run.is_dirty]
        for run in dirty:
            run.is_dirty = False
        spools = [(run.dir.path, run.generation) for run in dirty]
        failed = await asyncio.get_running_loop().run_in_executor(self._syncing, _sync_spools, spools)
        for run in dirty:
            if error := failed.get(run.dir.path):  # the next second tries again
                run.is_dirty = True
                logger.warning("spool.not_synced", run=run.run_id, error=str(error))
        for run in list(self._held.values()):
            try:
                await self._tend(run)
            except OSError as error:  # the next second tries again; the others are not kept waiting
                logger.warning("run.untended", run=run.run_id, error=str(error))
        held = list(self._held.values())
        waiting = await asyncio.to_thread(lambda: sum(run.waiting_bytes() for run in held))
        is_full = waiting >= self._spool_bytes * (RELEASE_PART if self.is_full else 1.0)
        if is_full != self.is_full:
            logger.warning("spools.full" if is_full else "spools.have_room", waiting_bytes=waiting)
            self.is_full = is_full
        for run in held:
            await run.hold(is_full)

    async def _tend(self, run: HeldRun) -> None:
        """Note what is acknowledged, end what the hub does not know, and bury what is over."""
        await run.cancel_unknown()
        await run.keep_acknowledged()
        if run.is_delivered and self._followers[run.run_id].done() and (run.refused or not run.blobs()):
            await asyncio.to_thread(run.dir.bury, "ended")
            del self._held[run.run_id], self._followers[run.run_id]
            logger.info("run.buried", run=run.run_id)

    async def _follow(self, run: HeldRun) -> None:
        try:
            await run.follow()
        except Exception:  # top of a run's loop: the others go on, and this one is taken back at the next start
            logger.exception("run.follower_failed", run=run.run_id)

    def _tell(self, run: HeldRun) -> None:
        if self.listener is not None:
            self.listener(run)


def _sync_spools(spools: list[tuple[Path, int]]) -> dict[Path, OSError]:
    """``fdatasync`` the segment that each spool is written to; the ones before it were synced when they were full.

    Answers what failed, by the spool's directory.
    """
    failed: dict[Path, OSError] = {}
    for directory, generation in spools:
        try:
            descriptor = os.open(segments_of(directory, generation)[-1].path, os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, IndexError):
            continue  # buried meanwhile
        except OSError as error:
            failed[directory] = error
    return failed


def _sweep_tombstones(runs: Path) -> None:
    now = now_us()
    for directory in all_runs(runs):
        directory.remove_if_old(now)
