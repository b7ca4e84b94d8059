"""A run's directory on its node: what was asked, what was answered, and who is at it.

``node/runs/<id>/`` (0700) holds ``spec.json``, ``commands``, ``lock``, ``generation``,
``spool-<generation>-<n>``, ``blobs/``, ``artifacts/``, ``control.sock``, ``actor-token``; ``ended`` once the ending
record is in the spool, and ``tombstone`` once only the answers are worth keeping.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from nodes.contract.commands import StartRun
from nodes.contract.errors import Conflict
from nodes.contract.events import BlobRef
from nodes.contract.ids import now_us

from . import proc
from .commandlog import CommandLog
from .files import PRIVATE_DIR, PRIVATE_FILE, sync_dir, write_durably

FORMAT = 1
TOMBSTONE_DAYS = 30
LOCK_WAIT_SECONDS = 2.0


class RunLocked(Conflict):
    """Another process is at this run."""

    code = "run_locked"
    message = "A supervisor is at this run already."


class Standing(StrEnum):
    """What a directory says of its run."""

    UNKNOWN = "unknown"
    """Nothing was accepted for this run."""
    ACCEPTED = "accepted"
    """To be started: there is a spec and nobody ever began."""
    LIVE = "live"
    """A supervisor holds the lock."""
    ORPHANED = "orphaned"
    """It began, nobody is at it, and no ending is known: ``settle`` it."""
    ENDED = "ended"
    """The ending record is in the spool; not everything needs to be acknowledged yet."""
    BURIED = "buried"
    """Only a tombstone and the stored answers are left."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Why a run's id starts nothing any more: ``cancelled`` (before it was known here) or ``ended``."""

    code: str
    at_us: int
    origin_seq: int = 0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who took the lock last: pid, start time in clock ticks, and the boot they belong to."""

    pid: int
    started: int
    boot_id: str


class RunLock:
    """The exclusive lock of a run, held until ``release`` or the end of the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, path: Path, wait: float = LOCK_WAIT_SECONDS) -> Self:
        """Blocks up to ``wait`` seconds, since others probe by trying the lock. Raises ``RunLocked``."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(fd)
                    raise RunLocked(run=path.parent.name) from None
                time.sleep(0.01)
        return cls(fd)

    def sign(self) -> None:
        """Write this process into the lock file, for those who look."""
        me = proc.stat_of(os.getpid())
        text = json.dumps({"pid": os.getpid(), "started": me.started if me else 0, "boot_id": proc.boot_id()})
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def release(self) -> None:
        os.close(self._fd)


class RunDir:
    """One run's directory. Making one touches nothing; methods that write say so."""

    def __init__(self, runs: Path, run_id: str) -> None:
        if str(UUID(run_id)) != run_id:
            raise ValueError(f"{run_id!r} is not a run id in its canonical form")
        self.run_id = run_id
        self.path = runs / run_id
        self.commands = CommandLog(self.path / "commands")

    @property
    def control_socket(self) -> Path:
        return self.path / "control.sock"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def artifacts(self) -> Path:
        """Where the agent puts what it leaves, until the run has ended."""
        return self.path / "artifacts"

    def make(self) -> None:
        """Create the directory, durably; one that is there is fine."""
        self.path.parent.mkdir(PRIVATE_DIR, parents=True, exist_ok=True)
        try:
            self.path.mkdir(PRIVATE_DIR)
        except FileExistsError:
            return
        sync_dir(self.path.parent)

    # What was asked.

    def write_spec(self, spec: StartRun) -> None:
        """What to run, on stable storage when this returns. Written once; a second time changes nothing."""
        self.make()
        if not self.has_spec():
            text = json.dumps({"format": FORMAT, "spec": spec.model_dump(mode="json")}, ensure_ascii=False)
            write_durably(self.path / "spec.json", text.encode("utf-8", "surrogatepass"))

    def has_spec(self) -> bool:
        return (self.path / "spec.json").exists()

    def read_spec(self) -> StartRun:
        """``FileNotFoundError`` if nothing was accepted; ``ValueError`` if a newer version wrote it."""
        held = json.loads((self.path / "spec.json").read_bytes().decode("utf-8", "surrogatepass"))
        if held["format"] != FORMAT:
            raise ValueError(f"{self.path}/spec.json has format {held['format']}, this version reads {FORMAT}")
        return StartRun.model_validate(held["spec"])

    def make_actor_token(self) -> str:
        """What this run's agent shows to its node; a new one each time. It lasts as long as the run."""
        token = secrets.token_hex(32)
        write_durably(self.path / "actor-token", token.encode())
        return token

    def actor_token(self) -> str:
        """Empty if there is none."""
        try:
            return (self.path / "actor-token").read_text("ascii")
        except (OSError, ValueError):
            return ""

    # Who is at it.

    def take_lock(self, wait: float = LOCK_WAIT_SECONDS) -> RunLock:
        """Raises ``RunLocked``."""
        return RunLock.take(self.path / "lock", wait)

    def is_locked(self) -> bool:
        """Whether a supervisor (or someone who settles the run) is alive; never by a pid."""
        try:
            fd = os.open(self.path / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def holder(self) -> Holder | None:
        """Who signed the lock last, alive or not."""
        held = _read_json(self.path / "lock")
        return Holder(held["pid"], held["started"], held["boot_id"]) if held else None

    def has_begun(self) -> bool:
        """Whether a supervisor ever came as far as its spool: from then on the run is never started again."""
        return any(self.path.glob("spool-*"))

    def standing(self) -> Standing:
        """Where the run stands by its directory alone."""
        if (self.path / "tombstone").exists():
            return Standing.BURIED
        if self.is_locked():
            return Standing.LIVE
        if (self.path / "ended").exists():
            return Standing.ENDED
        if self.has_begun():
            return Standing.ORPHANED
        if self.has_spec():
            return Standing.ACCEPTED
        # A run that is buried meanwhile has lost all the rest, but never its tombstone.
        return Standing.BURIED if (self.path / "tombstone").exists() else Standing.UNKNOWN

    # Generations: a new one begins when this disk knows less than the hub.

    def generation(self) -> int:
        try:
            return int((self.path / "generation").read_text("ascii"))
        except FileNotFoundError:
            return 1

    def begin_generation(self) -> int:
        """Number records from 1 again; for a disk that lost its tail. Durable when this returns."""
        number = self.generation() + 1
        write_durably(self.path / "generation", str(number).encode())
        return number

    # How it ended.

    def write_ended(self, origin_seq: int) -> None:
        """Said last: the ending record is in the spool and synced."""
        write_durably(self.path / "ended", json.dumps({"origin_seq": origin_seq}).encode())

    def ended_at(self) -> int | None:
        """The ending record's ``origin_seq``, once it is there."""
        held = _read_json(self.path / "ended")
        return int(held["origin_seq"]) if held else None

    def tombstone(self) -> Tombstone | None:
        held = _read_json(self.path / "tombstone")
        return Tombstone(held["code"], held["at_us"], held["origin_seq"]) if held else None

    def bury(self, code: str) -> None:
        """Leave a tombstone and the stored answers, and remove the rest. ``code``: ``cancelled`` or ``ended``."""
        self.make()
        stone = {"code": code, "at_us": now_us(), "origin_seq": self.ended_at() or 0}
        write_durably(self.path / "tombstone", json.dumps(stone).encode())
        self.commands.forget_bodies()
        self._clear()

    def remove_if_old(self, now: int) -> bool:
        """Remove a tombstone after ``TOMBSTONE_DAYS``, and at once what a crash left beside it; ``now`` in us."""
        stone = self.tombstone()
        if stone is None:
            return False
        self._clear()
        if self.commands.has_bodies():
            self.commands.forget_bodies()
        if now - stone.at_us < TOMBSTONE_DAYS * 86_400_000_000:
            return False
        shutil.rmtree(self.path)
        return True

    def _clear(self) -> None:
        """Remove all but what a buried run keeps: its tombstone, and the answers to its commands."""
        for path in self.path.iterdir():
            if path in (self.blobs, self.artifacts):
                shutil.rmtree(path)
            elif path.name not in ("tombstone", "commands"):
                path.unlink(missing_ok=True)

    # Blobs.

    def make_artifacts(self) -> None:
        self.artifacts.mkdir(PRIVATE_DIR, exist_ok=True)

    def write_blob(self, data: bytes) -> BlobRef:
        """Keep bytes under their SHA-256, durably."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs.mkdir(PRIVATE_DIR, exist_ok=True)
        path = self.blob_path(digest)
        if not path.exists():
            write_durably(path, data)
            sync_dir(self.path)
        return BlobRef(digest=digest, size=len(data))

    def blob_path(self, digest: str) -> Path:
        """Where a blob lies or would lie. ``ValueError`` for what is no digest."""
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValueError(f"{digest!r} is not a SHA-256 in hex")
        return self.blobs / digest


def all_runs(runs: Path) -> Iterator[RunDir]:
    """Every run that has a directory here, buried ones as well."""
    try:
        names = sorted(path.name for path in runs.iterdir())
    except FileNotFoundError:
        return
    for name in names:
        try:
            yield RunDir(runs, name)
        except ValueError:
            continue


def _read_json(path: Path) -> dict[str, Any] | None:
    """A small file of ours; None if it is missing, or was being written when the machine stopped."""
    try:
        held = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return held if isinstance(held, dict) else None
