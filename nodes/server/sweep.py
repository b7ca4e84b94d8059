"""Leave nothing of a run behind: its group is not all, as some detach, double-fork or call ``setsid``.

Two nets overlap. Whoever detaches becomes a child of the nearest subreaper, which is the
supervisor (and after it the spawner); and everything that a run started inherited its
marker, unless it wiped its environment.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection

import structlog

from . import proc

logger = structlog.get_logger(__name__)

PAUSE_SECONDS = 0.02
SWEEP_SECONDS = 10.0
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Orphaned descendants become children of this process. Nothing happens where the kernel has no such thing."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def strike(run_id: str, parent: int | None, spare: Collection[int] = ()) -> int:
    """Kill once what belongs to the run; returns how many were still alive.

    That is: everything that carries the marker, and, with ``parent`` (this process), all
    its children but those in ``spare``, with their descendants. Dead children are reaped.
    """
    stats = {stat.pid: stat for stat in proc.all_stats()}
    protected = {os.getpid(), *_ancestors_of(os.getpid(), stats)}
    targets = {pid for pid, stat in stats.items() if stat.state != "Z" and proc.has_marker(pid, run_id)}
    if parent is not None:
        children = {stat.pid for stat in stats.values() if stat.parent == parent} - set(spare)
        targets |= children
        for child in children:
            targets |= proc.descendants_of(child, list(stats.values()))
    alive = 0
    for pid in targets - protected:
        stat = stats[pid]
        if stat.state != "Z":
            alive += 1
            _kill(stat)
        elif stat.parent == os.getpid():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
    return alive


async def sweep(run_id: str, parent: int | None, seconds: float = SWEEP_SECONDS) -> bool:
    """Strike until nothing is left. False if something is, after ``seconds``: only the kernel holds such."""
    end = time.monotonic() + seconds
    while alive := strike(run_id, parent):
        if time.monotonic() > end:
            logger.error("sweep.left_over", run=run_id, processes=alive)
            return False
        await asyncio.sleep(PAUSE_SECONDS)
    strike(run_id, parent)  # reaps what the last blow felled
    return True


def sweep_now(run_id: str, parent: int | None, spare: Collection[int] = (), seconds: float = SWEEP_SECONDS) -> bool:
    """``sweep`` for a process without an event loop."""
    end = time.monotonic() + seconds
    while alive := strike(run_id, parent, spare):
        if time.monotonic() > end:
            logger.error("sweep.left_over", run=run_id, processes=alive)
            return False
        time.sleep(PAUSE_SECONDS)
    strike(run_id, parent, spare)
    return True


def _kill(stat: proc.Stat) -> None:
    """Kill exactly the process that ``stat`` describes, even if its pid was given away meanwhile."""
    try:
        fd = os.pidfd_open(stat.pid)
    except OSError:
        return
    try:
        now = proc.stat_of(stat.pid)
        if now and now.started == stat.started:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    except (ProcessLookupError, PermissionError) as error:
        logger.warning("sweep.cannot_kill", pid=stat.pid, error=str(error))
    finally:
        os.close(fd)


def _ancestors_of(pid: int, stats: dict[int, proc.Stat]) -> set[int]:
    found: set[int] = set()
    while (stat := stats.get(pid)) and stat.parent not in found and stat.parent > 0:
        found.add(stat.parent)
        pid = stat.parent
    return found
