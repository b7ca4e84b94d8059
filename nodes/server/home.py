"""The node's own directory: who it is, who serves it, what it has seen, where it listens."""

import fcntl
import json
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from nodes.contract.errors import ConfigError, Conflict
from nodes.link.gate import KnownHub

from .files import PRIVATE_DIR, PRIVATE_FILE, write_durably

TAKE_OVER_SECONDS = 20.0
"""How long whoever serves a home may take to leave it when another node server takes over."""


class AlreadyServed(Conflict):
    """Another node server works on this directory."""

    code = "node_already_running"


class NodeHome:
    """``<home>/node``: ``id`` or ``known-hub.json``, ``epoch``, ``address``, ``lock``, ``runs/``."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        self.runs = directory / "runs"
        self._epoch: int | None = None
        self._writing = threading.Lock()
        self._refused_at = float("-inf")

    def lock(self) -> int:
        """Keep every other node server out until the descriptor is closed. Raises ``AlreadyServed``."""
        for directory in (self.path.parent, self.path, self.runs):  # ``parents`` alone would be open to everybody
            directory.mkdir(PRIVATE_DIR, parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            holder = int(text) if text.isdecimal() else 0
            os.close(descriptor)
            raise AlreadyServed(
                f"Another node server (pid {holder or 'unknown'}) already serves {self.path}. Take over from it "
                "(agenthub node run --take-over), stop it first, or use another home.",
                pid=holder,
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return descriptor

    def take_over(self, seconds: float = TAKE_OVER_SECONDS) -> int:
        """As ``lock``, but ask whoever serves to leave, and wait for that. Runs do not notice.

        Raises ``AlreadyServed`` if it does not leave in time; nothing is forced.
        """
        deadline, asked = time.monotonic() + seconds, 0
        while True:
            try:
                return self.lock()
            except AlreadyServed as error:
                holder = int(error.data.get("pid") or 0)
                if holder and holder != asked and _has_open(holder, self.path / "lock"):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(holder, signal.SIGTERM)
                    asked = holder
                if time.monotonic() > deadline:
                    raise AlreadyServed(
                        f"The node server (pid {holder or 'unknown'}) that serves {self.path} was asked to leave and "
                        f"has not within {seconds:.0f} s. End it, then start this one again.",
                        pid=holder,
                    ) from None
            time.sleep(0.02)

    def read_id(self) -> UUID:
        """The node's id, as the hub wrote it at its first start. Raises ``ConfigError`` that says what to do."""
        path = self.path / "id"
        try:
            return UUID(path.read_text("ascii").strip())
        except FileNotFoundError:
            raise ConfigError(
                f"This machine is not a node yet: there is no {path}. Run 'agenthub up' (or 'agenthub prepare') with "
                "this home first: it gives the local node its id and its certificates. To be a node of another "
                'machine\'s hub, join it (agenthub node join), or set [server] role = "node".'
            ) from None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path} does not hold a node's id ({error}). Remove it and run 'agenthub prepare'."
            ) from error

    @property
    def epoch(self) -> int:
        """The highest epoch that any hub came with; 0 if there was none."""
        if self._epoch is None:
            try:
                self._epoch = int((self.path / "epoch").read_text("ascii"))
            except FileNotFoundError:
                self._epoch = 0
            except ValueError as error:
                raise ConfigError(f"{self.path / 'epoch'} is damaged ({error}). Remove it to begin at 0.") from error
        return self._epoch

    def keep_epoch(self, epoch: int) -> None:
        """Durable when this returns; never goes back, however many connections bring theirs at once (from threads)."""
        with self._writing:
            if epoch > self.epoch:
                write_durably(self.path / "epoch", str(epoch).encode())
                self._epoch = epoch

    def known_hub(self) -> KnownHub:
        """The hub that a node by configuration accepted first; nobody yet, if that is so."""
        path = self.path / "known-hub.json"
        try:
            return KnownHub(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return KnownHub()
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{path} cannot be read ({error}). `agenthub node forget-hub` begins anew.") from error

    def keep_hub(self, hub: KnownHub) -> None:
        """Durable when this returns. Another registration of this node has epochs of its own."""
        with self._writing:
            if self.known_hub().node != hub.node:
                (self.path / "epoch").unlink(missing_ok=True)
                self._epoch = None
            write_durably(self.path / "known-hub.json", json.dumps(asdict(hub)).encode())

    def forget_hub(self) -> bool:
        """Whether there was one to forget: the next that comes with the secrets is accepted."""
        try:
            (self.path / "known-hub.json").unlink()
        except FileNotFoundError:
            return False
        return True

    def write_address(self, address: str) -> None:
        write_durably(self.path / "address", address.encode())

    def write_trouble(self, code: str, message: str, remedy: str = "") -> None:
        """Why there is no link to the hub, for ``agenthub doctor`` on this machine. Best effort."""
        self._tell("trouble", code, message, remedy)

    def write_refusal(self, code: str, message: str) -> None:
        """Whom this node let not in, and why: as ``write_trouble``, and at most once a second."""
        now = time.monotonic()
        if now - self._refused_at >= 1.0:
            self._refused_at = now
            self._tell("refusal", code, message)

    def clear_trouble(self) -> None:
        for name in ("trouble", "refusal"):
            with suppress(OSError):
                (self.path / name).unlink(missing_ok=True)

    def read_trouble(self) -> dict[str, str]:
        """What ``write_trouble`` wrote since the last link; empty if there is one."""
        return self._told("trouble")

    def read_refusal(self) -> dict[str, str]:
        """What ``write_refusal`` wrote since the last link began."""
        return self._told("refusal")

    def _tell(self, name: str, code: str, message: str, remedy: str = "") -> None:
        draft = self.path / f".{name}-{os.getpid()}"
        told = {"code": code, "message": message, "remedy": remedy, "at": datetime.now(UTC).isoformat()}
        with suppress(OSError):
            draft.write_text(json.dumps(told), "utf-8")
            draft.replace(self.path / name)

    def _told(self, name: str) -> dict[str, str]:
        try:
            told = json.loads((self.path / name).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in told.items()} if isinstance(told, dict) else {}


def _has_open(pid: int, path: Path) -> bool:
    """Whether a process has the file open: a number alone might be another process's by now."""
    wanted = path.stat()
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat()
                    if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                        return True
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # where there is no /proc, the number has to do
    except PermissionError:
        return False
    return False
