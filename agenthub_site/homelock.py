"""Who has the home: one parent at a time, and no parent before the last one's children are gone.

Locks, not process ids: the kernel lets go of them whatever way a process ends.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from integrations.cli.where import short
from nodes.contract.errors import ConfigError, Conflict

CHILDREN_SECONDS = 20.0
"""How long to wait for the children of a parent that was killed; each is asked to end at once then."""


class HomeUnusable(ConfigError):
    """The home cannot be written."""

    code = "home_unusable"


class HomeTaken(Conflict):
    """Another ``up``, or another part of a hub, has this home."""

    code = "home_taken"


_is_child = False
"""Whether an ``up`` that has the home started this process."""


def belong_to_up() -> None:
    global _is_child
    _is_child = True


def belongs_to_up() -> bool:
    """Whether this process is a child of `agenthub up`, and so has a local node beside it, or soon will."""
    return _is_child


class Home:
    """A home that this process has."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def tell(self, **facts: object) -> None:
        """Leave facts for whoever comes second."""
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, json.dumps(facts).encode(), 0)


@contextmanager
def hold_home(path: Path) -> Iterator[Home]:
    """Make the home (0700) and keep others out of it. Raises ``HomeUnusable`` or ``HomeTaken``."""
    try:
        for directory in (path, path / "logs"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HomeUnusable(
            f"The home {path} cannot be used: {error.strerror}. Set AGENTHUB_HOME to a directory that you may write."
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeTaken(_who_has_it(path, lock)) from None
        yield Home(path, lock)
    finally:
        os.close(lock)


@contextmanager
def share_home(path: Path, part: str) -> Iterator[None]:
    """Keep ``up`` out of the home while a part of the hub runs by itself, beside other parts.

    Does nothing in a child of ``up``. Raises ``HomeTaken`` if an ``up`` has the home, ``HomeUnusable``.
    """
    if _is_child:
        yield
        return
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HomeUnusable(f"The home {path} cannot be used: {error.strerror}.") from error
    try:
        if not _try_lock(lock, fcntl.LOCK_SH):
            raise HomeTaken(
                f"{_who_has_it(path, lock)} `agenthub up` has its own {part}: nothing was started beside it."
            )
        children = wait_for_children(path, lambda: None, fcntl.LOCK_SH)
        try:
            yield
        finally:
            os.close(children)
    finally:
        os.close(lock)


def _who_has_it(path: Path, lock: int) -> str:
    if _try_lock(lock, fcntl.LOCK_SH):  # shared with us: not an ``up``
        return (
            f"Parts of a hub (`agenthub web`, `controlplane` or `worker`) already run on {short(path)}. "
            "Stop them, or set AGENTHUB_HOME for a second hub."
        )
    facts: dict[str, object] = {}
    with suppress(ValueError):  # it is only just starting
        facts = json.loads(os.pread(lock, 4096, 0))
    process = f" (process {facts['pid']})" if "pid" in facts else ""
    address = f" at {facts['address']}" if "address" in facts else ""
    stop = f" Stop it with `kill {facts['pid']}`, or" if "pid" in facts else " Stop it, or"
    return f"AgentHub already runs on {short(path)}{address}{process}.{stop} set AGENTHUB_HOME for a second one."


def wait_for_children(path: Path, on_wait: Callable[[], None], how: int = fcntl.LOCK_EX) -> int:
    """The lock that children inherit, once no child of an earlier parent holds it. The caller keeps it open."""
    lock = os.open(path / "children.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + CHILDREN_SECONDS
    has_said = False
    while not _try_lock(lock, how):
        if time.monotonic() > deadline:
            os.close(lock)
            raise HomeTaken(
                f"Processes of an earlier hub on {short(path)} do not end. `fuser {path / 'children.lock'}` names them."
            )
        if not has_said:
            on_wait()
            has_said = True
        time.sleep(0.1)
    return lock


def _try_lock(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def live_runs(node_dir: Path) -> list[str]:
    """Ids of the runs whose supervisor lives: it holds the lock in the run's directory."""
    found = []
    for path in (node_dir / "runs").glob("*/lock"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if not _try_lock(descriptor):
                    found.append(path.parent.name)
            finally:
                os.close(descriptor)
    return sorted(found)
