"""A child process with its own session, our own pipes, and a watch that no grandchild can hold up.

Never ``asyncio.subprocess``: there a grandchild that keeps a pipe open blocks ``wait()``.
The exit is seen through a pidfd. The process is reaped only by ``release``, so that until
then its pid, which is its group's as well, belongs to nobody else.
"""

import asyncio
import contextlib
import errno
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nodes.contract.limits import FRAME_BYTES
from nodes.contract.reasons import Reason
from nodes.contract.runtime import RuntimeFailed

from . import proc
from .sandbox import PROGRAM, Sandbox, why_not

ENTER_SECONDS = 10.0
_SIGNALLED = 128
READ_BYTES = 64 * 1024
_STARTED: set[int] = set()
"""Started here and not released: theirs is the only exit status that anyone asks for."""
OOM_SCORE = 500
"""Of two that could be killed for want of memory it is to be the agent, not its supervisor."""


class Inflow(asyncio.ReadTransport):
    """One pipe into a ``StreamReader``; ``hold`` stops reading, whoever else paused or resumed."""

    def __init__(self, fd: int, limit: int) -> None:
        super().__init__()
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._is_paused = self._is_held = self._is_reading = False
        self.reader = asyncio.StreamReader(limit=limit)
        self.reader.set_transport(self)
        self._update()

    def pause_reading(self) -> None:
        self._is_paused = True
        self._update()

    def resume_reading(self) -> None:
        self._is_paused = False
        self._update()

    def hold(self, is_held: bool) -> None:
        """Leave the pipe unread: when it is full, its writer waits."""
        self._is_held = is_held
        self._update()

    def is_closing(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self.reader.feed_eof()

    def _update(self) -> None:
        wanted = self._fd >= 0 and not (self._is_paused or self._is_held)
        if wanted and not self._is_reading:
            self._loop.add_reader(self._fd, self._read)
        elif self._is_reading and not wanted and self._fd >= 0:
            self._loop.remove_reader(self._fd)
        self._is_reading = wanted

    def _read(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if data:
            self.reader.feed_data(data)
        else:
            self.close()


class Process:
    """A started program, the leader of its own session and group."""

    _stdin: asyncio.StreamWriter

    def __init__(self, popen: "subprocess.Popen[bytes]", out: Inflow, err: Inflow) -> None:
        self._popen = popen
        self._group = popen.pid
        self._is_masked = False
        self._status = -1
        self._out = out
        self._err = err
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)
        _STARTED.add(popen.pid)

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        limit: int = FRAME_BYTES,
        sandbox: Sandbox | None = None,
    ) -> Self:
        """Start ``command`` with exactly this environment. Raises ``RuntimeFailed`` if it cannot be started."""
        with _entrance(sandbox, command, cwd, environment) as entrance:
            owner = (sandbox.user.uid, sandbox.user.gid) if sandbox and sandbox.user else None
            popen, in_w, out_r, err_r = _fork(entrance.command, cwd, environment, entrance.descriptors, owner)
            with contextlib.suppress(OSError):
                Path(f"/proc/{popen.pid}/oom_score_adj").write_text(str(OOM_SCORE))
            # Known as ours before anything is waited for: a dead child that is not would be reaped as an orphan.
            process = cls(popen, Inflow(out_r, limit), Inflow(err_r, limit))
            process._stdin = await _writer_on(in_w)
            if sandbox is not None:
                await process._enter(entrance)
        return process

    async def _enter(self, entrance: "_Entrance") -> None:
        """From here on signals go to those within. ``RuntimeFailed`` if there is no such place."""
        entrance.close_theirs()
        self._is_masked = True
        leader = await asyncio.to_thread(entrance.read_leader)
        if leader is None:
            await self.wait(ENTER_SECONDS)
            said = (await self._last_said()) or "it gave no reason"
            await self.stop([(signal.SIGKILL, ENTER_SECONDS)])
            await self.release()
            text = f"This node cannot mask the agent: {said}. Run `agenthub doctor` there."
            raise RuntimeFailed(Reason.ISOLATION_UNAVAILABLE, text)
        self._group = leader
        self._status, entrance.status = entrance.status, -1  # bubblewrap says more there at the end
        for pid in (leader, *proc.descendants_of(leader, list(proc.all_stats()))):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE))

    async def _last_said(self) -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENTER_SECONDS):
                said = await self.stderr.read(READ_BYTES)
                return said.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
        return ""

    @property
    def pid(self) -> int:
        """Of the leader of the program's group: it itself, or what stands for it where it is masked."""
        return self._group

    @property
    def stdin(self) -> asyncio.StreamWriter:
        return self._stdin

    @property
    def stdout(self) -> asyncio.StreamReader:
        return self._out.reader

    @property
    def stderr(self) -> asyncio.StreamReader:
        return self._err.reader

    @property
    def exited(self) -> "asyncio.Future[int]":
        return self._exited

    def hold_output(self, is_held: bool) -> None:
        """Stop, or go on, reading what the process writes."""
        self._out.hold(is_held)
        self._err.hold(is_held)

    def signal_group(self, number: signal.Signals) -> None:
        """To the process and what it started in its own group. Nobody there is fine."""
        # Of a masked group nobody is left when its leader has ended, and its number may be another's by then.
        if self._popen.returncode is None and not (self._is_masked and self._exited.done()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, number)

    async def wait(self, seconds: float) -> bool:
        """Whether the process has ended within ``seconds``."""
        await asyncio.wait((self._exited,), timeout=seconds)
        return self._exited.done()

    async def stop(self, ladder: Sequence[tuple[signal.Signals, float]]) -> bool:
        """Each signal to the group with the seconds it has, until the process ends; the rest of the group is killed."""
        for number, seconds in ladder:
            if self._exited.done():
                break
            self.signal_group(number)
            await self.wait(seconds)
        self.signal_group(signal.SIGKILL)
        return self._exited.done()

    async def release(self) -> None:
        """Close the pipes and reap. The process must have ended, or is left to the sweep."""
        transport = self._stdin.transport
        if not transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()
        self._out.close()
        self._err.close()
        with contextlib.suppress(OSError):
            await self._stdin.wait_closed()
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._status >= 0:
            os.close(self._status)
            self._status = -1
        _STARTED.discard(self._popen.pid)
        self._popen.poll()
        if self._popen.returncode is None:
            self._popen.returncode = 0  # not ours to wait for any more

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if result and not self._exited.done():
            is_exit = result.si_code == os.CLD_EXITED
            status = result.si_status if is_exit else -result.si_status
            if self._is_masked and status > _SIGNALLED:  # how bubblewrap, like a shell, tells of a deadly signal
                status = _SIGNALLED - status
            self._exited.set_result(status)


def reap_orphans() -> None:
    """Reap dead children that nobody here started: a subreaper gets everyone whose parent has died."""
    for stat in list(proc.all_stats()):
        if stat.parent == os.getpid() and stat.state == "Z" and stat.pid not in _STARTED:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(stat.pid, os.WNOHANG)


@dataclass
class _Entrance:
    """The command line that leads into a sandbox, and the two descriptors on the way: what to do, and who is there.

    The instructions are in a file without a name, so that those within cannot read what is hidden from them.
    """

    command: Sequence[str]
    descriptors: tuple[int, ...] = ()
    status: int = -1

    def close_theirs(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()

    def read_leader(self) -> int | None:
        """The first process within, as it is called out here. None if there is none. Blocks for a moment."""
        said = b""
        end = time.monotonic() + ENTER_SECONDS
        while b"\n" not in said and (left := end - time.monotonic()) > 0:
            if not select.select([self.status], [], [], left)[0]:
                break
            piece = os.read(self.status, 4096)
            if not piece:
                break
            said += piece
        try:
            return int(json.loads(said.partition(b"\n")[0])["child-pid"])
        except (ValueError, KeyError, TypeError):
            return None


@contextlib.contextmanager
def _entrance(
    sandbox: Sandbox | None, command: Sequence[str], cwd: Path, environment: Mapping[str, str]
) -> Iterator[_Entrance]:
    if sandbox is None:
        yield _Entrance(command)
        return
    search = environment.get("PATH", os.defpath)
    if why := why_not(environment):
        raise RuntimeFailed(Reason.ISOLATION_UNAVAILABLE, f"This node cannot mask agents: {why}")
    if not command or shutil.which(command[0], path=search) is None:
        missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        raise _cannot_start(command, cwd, missing)
    instructions = os.memfd_create("bwrap", 0)
    status, theirs = os.pipe()
    entrance = _Entrance((), (instructions, theirs), status)
    try:
        os.write(instructions, b"".join(os.fsencode(part) + b"\0" for part in sandbox.arguments()))
        os.lseek(instructions, 0, os.SEEK_SET)
        become = sandbox.user.prefix if sandbox.user else ()
        entrance.command = (
            PROGRAM, "--args", str(instructions), "--json-status-fd", str(theirs), "--", *become, *command
        )  # fmt: skip
        yield entrance
    finally:
        entrance.close_theirs()
        if entrance.status >= 0:
            os.close(status)


def _fork(
    command: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    descriptors: Sequence[int] = (),
    owner: tuple[int, int] | None = None,
) -> tuple["subprocess.Popen[bytes]", int, int, int]:
    """The process, and our ends of its three pipes. Its own ends are ``owner``'s, who may open them by name as well."""
    (in_r, in_w), (out_r, out_w), (err_r, err_w) = pipes = os.pipe(), os.pipe(), os.pipe()
    try:
        if owner is not None:
            for fd in (in_r, out_w, err_w):
                os.fchown(fd, *owner)
        popen = subprocess.Popen(
            command, stdin=in_r, stdout=out_w, stderr=err_w, cwd=cwd, env=dict(environment), start_new_session=True,
            pass_fds=descriptors,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        for fd in (fd for pipe in pipes for fd in pipe):
            os.close(fd)
        raise _cannot_start(command, cwd, error) from error
    for fd in (in_r, out_w, err_w):
        os.close(fd)
    return popen, in_w, out_r, err_r


async def _writer_on(fd: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    # Of asyncio's protocols only this one lets a StreamWriter wait until it is closed.
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(fd, "wb", 0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


def _cannot_start(command: Sequence[str], cwd: Path, error: OSError | ValueError) -> RuntimeFailed:
    program = command[0] if command else ""
    if isinstance(error, FileNotFoundError | NotADirectoryError) and not cwd.is_dir():
        return RuntimeFailed(Reason.WORKSPACE_MISSING, "The workspace is no longer there.")
    if isinstance(error, FileNotFoundError):
        text = f"There is no program {program!r} on this node. Install it there, or change the agent's command."
        return RuntimeFailed(Reason.RUNTIME_NOT_INSTALLED, text)
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        text = (
            f"The command line of {program!r} is too long for this node. If it holds the prompt, leave {{prompt}} "
            "out of the agent's command: the program then reads the prompt from its standard input."
        )
        return RuntimeFailed(Reason.PROMPT_TOO_LARGE, text)
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return RuntimeFailed(Reason.RUNTIME_START_FAILED, f"The program {program!r} cannot be started: {reason}.")
