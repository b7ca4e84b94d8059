"""The local operator's door: HTTP on a Unix socket in the home (0600), for the home's owner and nobody else.

Who connects is asked of the kernel, at accept. A process of another user, or one that
descends from a run (itself or any ancestor carries a run's marker), is refused and
audited: an agent cannot approve itself. The scope's extension that says "operator" is
set here alone; it is no header, so nothing sent over TCP can imitate it.
"""

import asyncio
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
from asgiref.sync import sync_to_async

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.authentication import OPERATOR_EXTENSION
from agenthub_site.engines import App
from agenthub_site.unix_http import Connection
from audit.refusals import Refusal as AuditedRefusal
from audit.refusals import as_who, refusals

logger = structlog.get_logger(__name__)

MARKERS: Final = (b"AGENTHUB_RUN_ID=", b"AGENTHUB_SPAWNER=")
MAX_CONNECTIONS: Final = 256
MAX_ANCESTORS: Final = 256
REFUSALS_AUDITED_EVERY: Final = 1.0
_SO_PEERPIDFD: Final = 77
_UCRED: Final = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    pid: int
    uid: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a peer was turned away; ``run_id`` if its marker named one."""

    peer: Peer
    why: str
    run_id: str = ""


Refused = Callable[[Refusal], Awaitable[None]]


class OperatorSocket:
    """Serves ``app`` on ``path``. ``refused`` is told of refusals, at most one a second."""

    def __init__(self, path: Path, app: App, refused: Refused) -> None:
        self.path = path
        self._app = app
        self._refused = refused
        self._own_marks = set(_marks_of(os.getpid()) or ())
        self._server: asyncio.Server | None = None
        self._inode = (0, 0)
        self._lock = -1
        self._tasks: set[asyncio.Task[None]] = set()
        self._told_at = 0.0

    async def start(self) -> None:
        """Bind beside, restrict, listen, and only then take the name, so that no wider socket is ever reachable.

        Where another web process of this home serves it already, it stays that one's.
        """
        if not self._is_ours():
            logger.warning("operator.socket_taken", path=str(self.path))
            return
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        new = self.path.with_name(f".{self.path.name}-{os.getpid()}")
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(FileNotFoundError):
                new.unlink()
            # Through the descriptor where that works: a socket's address holds 107 bytes, a home's path may be longer.
            has_proc = Path("/proc/self/fd").is_dir()
            listener.bind(f"/proc/self/fd/{directory}/{new.name}" if has_proc else str(new))
            new.chmod(0o600)
            listener.listen(128)
            listener.setblocking(False)
            found = new.stat()
            self._inode = (found.st_dev, found.st_ino)
            new.rename(self.path)
        except OSError:
            listener.close()
            raise
        finally:
            os.close(directory)
        self._server = await asyncio.start_unix_server(self._accept, sock=listener)

    def _is_ours(self) -> bool:
        """Take the lock beside the socket; the kernel lets go of it whatever way its holder ends."""
        path = self.path.with_name(f"{self.path.name}.lock")
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            return False
        return True

    async def stop_accepting(self) -> None:
        if self._server is None:
            return
        self._server.close()
        self._server = None
        with suppress(FileNotFoundError):
            found = self.path.stat()
            if (found.st_dev, found.st_ino) == self._inode:
                self.path.unlink()
        os.close(self._lock)

    async def stop(self, seconds: float) -> None:
        """Stop accepting, let requests under way end, at most so long."""
        await self.stop_accepting()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._tasks.add(task)
        connection = Connection(reader, writer)
        try:
            if len(self._tasks) > MAX_CONNECTIONS:
                await connection.refuse(503, "busy", "Too many commands are talking to the hub; try again.")
                return
            peer, refusal = self._look_at(writer)
            if refusal:
                await self._turn_away(connection, refusal)
            else:
                await connection.serve(self._app, {OPERATOR_EXTENSION: {"pid": peer.pid, "uid": peer.uid}})
        except (OSError, asyncio.CancelledError):
            pass  # the client left, or the hub stops
        except Exception:
            logger.exception("operator.connection_failed")
        finally:
            self._tasks.discard(task)
            writer.close()

    def _look_at(self, writer: asyncio.StreamWriter) -> tuple[Peer, Refusal | None]:
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as connected:
            pid, uid, _ = _UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
            peer = Peer(pid, uid)
            pidfd = _peer_pidfd(connected)
        try:
            refusal = refuse(peer, self._own_marks)
            if not refusal and pidfd >= 0 and select.select([pidfd], [], [], 0)[0]:
                refusal = Refusal(peer, "gone")  # what was looked at may have been another process by its number
            return peer, refusal
        finally:
            if pidfd >= 0:
                os.close(pidfd)

    async def _turn_away(self, connection: Connection, refusal: Refusal) -> None:
        logger.warning("operator.refused", pid=refusal.peer.pid, uid=refusal.peer.uid, why=refusal.why)
        now = time.monotonic()
        if now - self._told_at >= REFUSALS_AUDITED_EVERY:
            self._told_at = now
            await self._refused(refusal)
        await connection.refuse(
            403,
            "operator_refused",
            "This socket is the operator's own: processes of a run, and of other users, are refused. "
            "Use AGENTHUB_URL with a token of yours.",
            why=refusal.why,
        )


def refuse(peer: Peer, own_marks: set[bytes]) -> Refusal | None:
    """Why the peer may not act as the operator, or None. ``own_marks``: those this hub itself was started with."""
    if peer.uid != os.geteuid():
        return Refusal(peer, "other_user")
    if peer.pid <= 0:
        return Refusal(peer, "unknown_process")
    for depth, pid in enumerate(_ancestors(peer.pid)):
        marks = _marks_of(pid)
        if marks is None:
            if depth == 0:
                return Refusal(peer, "unreadable")  # it ended, or hides: nothing can be said for it
            continue  # another user's, such as init: a run's supervisor is our own user's
        found = [mark for mark in marks if mark not in own_marks]
        if found:
            runs = [mark.partition(b"=")[2].decode(errors="replace") for mark in found if mark.startswith(MARKERS[0])]
            return Refusal(peer, "descends_from_run", runs[0][:64] if runs else "")
    return None


def _marks_of(pid: int) -> list[bytes] | None:
    """The markers in a process's environment; None if that cannot be read."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    return [entry for entry in environ.split(b"\0") if entry.startswith(MARKERS)]


def _ancestors(pid: int) -> Iterator[int]:
    """The process, its parent, and so on."""
    for _ in range(MAX_ANCESTORS):
        if pid <= 0:
            return
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return
        pid = int(stat.rpartition(b")")[2].split()[1])


def _peer_pidfd(connected: socket.socket) -> int:
    """A descriptor of the very process that connected (Linux 6.5), or -1."""
    try:
        return connected.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return -1


async def audit_refusal(refusal: Refusal) -> None:
    """Put it on the instance's trail, with the run it came from if it named one."""
    try:
        run = UUID(refusal.run_id)
    except ValueError:
        run = None
    due = refusals.count(
        AuditedRefusal(
            "operator.refused", as_who(SYSTEM), of=("account", str(refusal.peer.uid)), run=run,
            code=refusal.why, door="operator socket",
        )
    )  # fmt: skip
    if due:
        await sync_to_async(refusals.write)(due)
