"""What ``/proc`` says of processes. A pid alone names nothing: with its start time it does."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUN_MARKER = "AGENTHUB_RUN_ID"
"""In the environment of every process that a run started; inherited by all that those start."""


@dataclass(frozen=True, slots=True)
class Stat:
    """A line of ``/proc/<pid>/stat``. ``started`` is in clock ticks since the machine's start."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    started: int


def stat_of(pid: int) -> Stat | None:
    """None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(pid, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def all_stats() -> Iterator[Stat]:
    """Every process of the machine (of the pid namespace) that can be seen."""
    for name in (path.name for path in Path("/proc").iterdir()):
        if name.isdecimal() and (stat := stat_of(int(name))):
            yield stat


def has_marker(pid: int, run_id: str) -> bool:
    """Whether the process was started with this run's marker. One we may not read has none for us."""
    return f"{RUN_MARKER}={run_id}".encode() in _environ_of(pid)


def marker_of(pid: int) -> str:
    """The run by which the process was started, or nothing."""
    head = f"{RUN_MARKER}=".encode()
    found = next((entry for entry in _environ_of(pid) if entry.startswith(head)), head)
    return found.removeprefix(head).decode("utf-8", "replace")


def kill_if_same(pid: int, started: int) -> bool:
    """Kill the process with this pid if it is the one that began then. False if there is no such process."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        stat = stat_of(pid)
        if stat is None or stat.started != started:
            return False
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(fd)
    return True


def _environ_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def descendants_of(root: int, stats: list[Stat]) -> set[int]:
    """Children, their children, and so on, by parent pid; ``root`` itself is not among them."""
    children: dict[int, list[int]] = {}
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat.pid)
    found: set[int] = set()
    todo = [root]
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def boot_id() -> str:
    """Changes when the machine restarts; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
