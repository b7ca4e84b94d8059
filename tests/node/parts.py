"""A prepared home, a real node server in it, spools as a supervisor would leave them, commands."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

from nodes.contract import events
from nodes.contract.commands import RuntimeSpec, StartRun, Workspace
from nodes.contract.ids import new_id
from nodes.pki import ensure_pki
from nodes.server.rundir import RunDir
from nodes.server.spool import SpoolWriter
from tests.support import eventually

ROOT = Path(__file__).resolve().parents[2]
NODE_ID = UUID("019a0000-0000-7000-8000-00000000051a")


def prepare(home: Path) -> None:
    """What the hub's first start leaves for its local node."""
    (home / "node").mkdir(mode=0o700)
    (home / "node/id").write_text(f"{NODE_ID}\n")
    ensure_pki(home / "pki", NODE_ID)


class NodeProcess:
    """``manage.py runnode`` on a home of its own."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.environment = environment
        self.child: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return (self.home / "node/address").read_text()

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    @property
    def log(self) -> str:
        return (self.home / "node.log").read_text()

    def start(self) -> "NodeProcess":
        """Started and listening."""
        (self.home / "node/address").unlink(missing_ok=True)
        self.child = spawn_node(self.home, self.home / "node.log", **self.environment)
        eventually(lambda: (self.home / "node/address").exists() or self._failed(), timeout=60)
        return self

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.wait(60)

    def terminate(self) -> int:
        assert self.child is not None
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(60)

    def _failed(self) -> bool:
        if self.child is not None and self.child.poll() is not None:
            raise AssertionError(f"the node server ended with {self.child.returncode}:\n{self.log}")
        return False


def spawn_node(home: Path, log: Path, **environment: str) -> "subprocess.Popen[bytes]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AGENTHUB_")}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "runnode"],
            env={**inherited, "AGENTHUB_HOME": str(home), "AGENTHUB_LOG__FORMAT": "json", **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


@contextmanager
def no_process_left(home: Path) -> Iterator[None]:
    """Whatever was started for a home is gone when the test is over, spawner and supervisors included."""
    try:
        yield
    finally:
        for process in processes_of(home):
            with suppress(psutil.NoSuchProcess):  # it may end just now
                process.kill()


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process whose environment or command line names the home."""
    found = []
    for process in psutil.process_iter():
        try:
            named = process.environ().get("AGENTHUB_HOME") == str(home) or any(
                str(home) in argument for argument in process.cmdline()
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if named and process.pid != os.getpid():
            found.append(process)
    return found


def ended_run(home: Path, records: int, *, text: str = "x" * 240) -> RunDir:
    """A run that ended on this node, with so many records of which the hub has none."""
    directory = RunDir(home / "node/runs", str(new_id()))
    directory.write_spec(start_of(directory.run_id, home))
    writer = SpoolWriter(directory.path, 1)
    for number in range(1, records):
        writer.append(events.MessageDelta(message_id="m1", text=text))
        if number % 500 == 0:
            writer.flush()
    writer.append(events.RunCompleted())
    writer.flush()
    writer.close()
    directory.write_ended(records)
    return directory


def start_of(run_id: str, home: Path, *command: str, **fields: Any) -> StartRun:
    """A run of a plain program in the home's ``work`` directory."""
    work = home / "work"
    work.mkdir(exist_ok=True)
    return StartRun(
        run=run_id,
        project=str(new_id()),
        project_slug="demo",
        agent=str(new_id()),
        agent_name="demo",
        runtime=RuntimeSpec(kind="command", command=list(command) or ["true"]),
        workspace=Workspace(mode="use_existing", workdir=str(work)),
        prompt="go",
        input_id=str(new_id()),
        **fields,
    )
