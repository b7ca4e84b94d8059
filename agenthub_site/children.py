"""A child process of ``agenthub up``: started in a session of its own, logged, restarted with back-off.

Standard library only. The end of a child is the end of its process, never the end of
its output: a grandchild that inherited the pipe would hold it open.
"""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

LOG_BYTES = 5 * 1024 * 1024
LOGS_KEPT = 3
TAIL_LINES = 25
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_SECONDS = 60.0
"""A child that lived this long starts again without delay."""


class LogFile:
    """A log that is bounded: at ``LOG_BYTES`` it moves to ``.1``, and ``.1`` to ``.2``; a full disk is not fatal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None
        self._size = 0

    def write(self, data: bytes) -> None:
        with suppress(OSError):
            if self._file is None:
                self._file = FileIO(self.path, "ab", opener=_private)
                self._size = self._file.tell()
            self._size += self._file.write(data) or 0
            if self._size >= LOG_BYTES:
                self._rotate()

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _rotate(self) -> None:
        self.close()
        for number in range(LOGS_KEPT - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                newer.replace(older)


def _private(path: str | Path, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Child:
    """One part of the hub. ``start``, then ``pump`` and ``reap`` whenever something may have happened."""

    def __init__(
        self, name: str, arguments: Sequence[str], environ: Mapping[str, str], logs: Path, lock: int, *, echo: bool
    ) -> None:
        self.name = name
        self.log = LogFile(logs / f"{name}.log")
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        """The last lines it printed."""
        self.deaths = 0
        """Deaths in a row, each after less than ``STEADY_SECONDS``."""
        self.restart_at = float("inf")
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments = list(arguments)
        self._environ = {**environ, "AGENTHUB_UP": f"{os.getpid()}:{lock}"}
        self._lock = lock
        self._echo = echo
        self._started_at = 0.0
        self._partial = b""
        self._pipe: int | None = None

    @property
    def pipe(self) -> int | None:
        """What to wait for readability on; None before the start and after the end of its output."""
        return self._pipe

    def start(self) -> None:
        """Start it. Must be called in the main thread: a child is told of the death of the thread that made it."""
        self.restart_at = float("inf")
        self._started_at = time.monotonic()
        # -P: the current directory may hold packages of its own with names like ours.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "agenthub_site.main", *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environ,
            pass_fds=(self._lock,),
            start_new_session=True,
        )
        self.process = process
        if process.stdout:
            self._pipe = process.stdout.fileno()
            os.set_blocking(self._pipe, False)

    def pump(self) -> None:
        """Move what it printed into the log (and, if asked, to our standard error)."""
        for _ in range(16):  # bounded: a chatty child must not starve the others
            if self._pipe is None:
                return
            try:
                data = os.read(self._pipe, 64 * 1024)
            except BlockingIOError:
                return
            if not data:
                self._pipe = None
                return
            self.log.write(data)
            *lines, self._partial = (self._partial + data).split(b"\n")
            self._partial = self._partial[-8192:]
            for line in lines:
                self._note(line)

    def _note(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        self.tail.append(text[:500])
        if self._echo:
            sys.stderr.write(f"{self.name:>6} | {text}\n")

    def reap(self) -> int | None:
        """The exit status, once, if the process has ended; what is left of its group is killed then."""
        if self.process is None:
            return None
        status = self.process.poll()
        if status is None:
            return None
        self.pump()
        if self._partial:
            self._note(self._partial)
            self._partial = b""
        self.signal(signal.SIGKILL)
        if self.process.stdout:
            self.process.stdout.close()
        self.process = self._pipe = None
        lived = time.monotonic() - self._started_at
        self.deaths = 1 if lived > STEADY_SECONDS else self.deaths + 1
        delay = 0.0 if lived > STEADY_SECONDS else BACKOFF_SECONDS[min(self.deaths, len(BACKOFF_SECONDS)) - 1]
        self.restart_at = time.monotonic() + delay
        return status

    def signal(self, number: int) -> None:
        """Send a signal to its whole group. Runs live in groups of their own and do not get it."""
        if self.process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)

    def stop(self, seconds: float) -> None:
        """Ask it to end, wait, then make it. It is not started again."""
        if self.process:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self.process and self.reap() is None:
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                self.process.wait()
            else:
                self.pump()
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(0.05)
        self.restart_at = float("inf")
        self.log.close()
