"""The spawner: a warm process that forks a supervisor per run, and ends the runs of those that die.

Single-threaded, without an event loop, without gRPC: what is forked must not hold locks
or loops of its parent. It outlives the node server; the next one uses it again if it is
of the same version, and otherwise tells it to retire: it then takes no more runs and
leaves with its last child.
"""

import fcntl
import gc
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from nodes.contract.logs import configure_logs

from . import unixsocket
from .files import PRIVATE_FILE
from .paths import SafePaths
from .rundir import RunDir, Standing
from .settle import settle
from .spawner_names import LINE_BYTES, LOCK, SOCKET
from .supervisor import RUNTIMES, supervise
from .sweep import become_subreaper
from .version import spawner_version

logger = structlog.get_logger(__name__)

IDLE_SECONDS = 3.0
"""Without children and without a node server it leaves after this long."""
LOCK_SECONDS = 10.0


class Spawner:
    """Serves ``start``, ``settle``, ``hello`` and ``retire``, a JSON line each, answered in order."""

    def __init__(self, node_dir: Path) -> None:
        self._node_dir = node_dir
        self._runs = node_dir / "runs"
        self._lock = _take_lock(node_dir / LOCK)
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, str] = {}
        self._clients: dict[socket.socket, bytearray] = {}
        self._listener: socket.socket | None = unixsocket.listen(node_dir / SOCKET)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._wake_in, self._wake_out = socket.socketpair()
        self._idle_since = time.monotonic()

    def serve(self) -> None:
        """Until there is nothing left to do."""
        self._watch_signals()
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._on_signal)
        while not self._may_leave():
            for key, _ in self._selector.select(timeout=1.0):
                key.data(key.fileobj)
        self._close()

    def _may_leave(self) -> bool:
        if self._children:
            self._idle_since = time.monotonic()
            return False
        if self._listener is None:
            return True
        if self._clients:
            self._idle_since = time.monotonic()
        return time.monotonic() - self._idle_since > IDLE_SECONDS

    def _watch_signals(self) -> None:
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_signal(self, wake: socket.socket) -> None:
        numbers = wake.recv(1024)
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._retire()
        self._reap()

    # Children.

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run_id = self._children.pop(pid, None)
            if run_id is not None:
                self._after(run_id, status)

    def _after(self, run_id: str, status: int) -> None:
        """A supervisor has left; if it did not end its run, we do."""
        run = RunDir(self._runs, run_id)
        if status:
            logger.warning("supervisor.died", run=run_id, status=os.waitstatus_to_exitcode(status))
        if run.standing() in (Standing.ORPHANED, Standing.ACCEPTED):
            self._settle(run)

    def _settle(self, run: RunDir) -> bool:
        try:
            return settle(run, parent=os.getpid(), spare=self._children)
        except (OSError, ValueError) as error:
            logger.exception("run.not_settled", run=run.run_id, error=str(error))
            return False

    def _start(self, run_id: str, safe: SafePaths) -> dict[str, Any]:
        run = RunDir(self._runs, run_id)
        for pid, known in self._children.items():
            if known == run_id:
                return {"ok": True, "pid": pid}
        if run.standing() is not Standing.ACCEPTED:
            return {"ok": True, "pid": 0}
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._be_supervisor(run, safe)
        self._children[pid] = run_id
        return {"ok": True, "pid": pid}

    def _be_supervisor(self, run: RunDir, safe: SafePaths) -> None:
        """The child's side of the fork; never returns. What is the spawner's is closed here."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            self._selector.close()
            for end in (self._listener, self._wake_in, self._wake_out, *self._clients):
                if end is not None:
                    end.close()
            os.close(self._lock)
            code = supervise(run, safe)
        except BaseException:  # noqa: BLE001  # the last frame of this process: nothing may get past the fork
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    # Requests.

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # it has gone already, or there is no descriptor left for it
            client, _ = listener.accept()
            client.settimeout(2.0)  # for answers, which are short; requests are read when they are there
            self._clients[client] = bytearray()
            self._selector.register(client, selectors.EVENT_READ, self._read)

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(LINE_BYTES)
        except OSError:
            data = b""
        buffer = self._clients[client]
        buffer += data
        if not data or len(buffer) > LINE_BYTES:
            self._drop(client)
            return
        while client in self._clients and b"\n" in buffer:
            line, _, rest = bytes(buffer).partition(b"\n")
            buffer[:] = rest
            answer = self._answer(line)
            try:
                client.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:
                self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        self._clients.pop(client)
        client.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            match json.loads(line):
                case {"do": "hello"}:
                    return {"ok": True, "version": spawner_version(), "pid": os.getpid(), "runs": len(self._children)}
                case {"do": "start", "run": str(run_id), "safe": dict(safe)}:
                    return self._start(run_id, SafePaths.from_json(safe))
                case {"do": "settle", "run": str(run_id)}:
                    return {"ok": True, "settled": self._settle(RunDir(self._runs, run_id))}
                case {"do": "retire"}:
                    self._retire()
                    return {"ok": True}
        except (ValueError, KeyError, OSError) as error:
            logger.exception("spawner.request_failed")
            return {"ok": False, "error": str(error)}
        return {"ok": False, "error": "unknown request"}

    def _retire(self) -> None:
        """Make room for a successor; children stay ours to their end."""
        if self._listener is not None:
            self._selector.unregister(self._listener)
            (self._node_dir / SOCKET).unlink(missing_ok=True)
            self._listener.close()
            self._listener = None
            os.ftruncate(self._lock, 0)
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _close(self) -> None:
        self._retire()
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        os.close(self._lock)


def _take_lock(path: Path) -> int:
    """One spawner per node. A predecessor may need a moment to retire."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(fd)
                raise
            time.sleep(0.02)
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def warm_up() -> None:
    """Import everything that a supervisor may need, once for all of them, and leave it out of collections."""
    for module, _ in RUNTIMES.values():
        __import__(module)
    gc.collect()
    gc.freeze()


def main(arguments: list[str]) -> int:
    """``python -m nodes.server.spawner NODE_DIR``; its output goes to a log."""
    configure_logs("info", "json")
    become_subreaper()
    warm_up()
    spawner_version()
    try:
        spawner = Spawner(Path(arguments[0]))
    except BlockingIOError:
        logger.warning("spawner.there_is_one_already")
        return 3
    logger.info("spawner.ready", pid=os.getpid(), version=spawner_version())
    spawner.serve()
    logger.info("spawner.left", pid=os.getpid())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
