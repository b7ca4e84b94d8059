"""A node's lower half for tests: a real spawner, real supervisors, real agents, without a node server."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nodes.contract import record
from nodes.contract.commands import Body, RuntimeSpec, StartRun, Workspace
from nodes.contract.ids import new_id
from nodes.server import proc
from nodes.server.commandlog import Accepted
from nodes.server.control import NoSupervisor, SupervisorClient
from nodes.server.paths import SafePaths
from nodes.server.rundir import RunDir, Standing
from nodes.server.spawner_client import SpawnerClient
from nodes.server.spool import SpoolReader
from tests.support import PAUSE_SECONDS, eventually, eventually_async

HUB_SECRET = "hub-secret-value-0123456789"


class Event:
    """One record, decoded for a look at it."""

    def __init__(self, held: record.Record) -> None:
        self.seq = held.origin_seq
        self.type = held.type
        self.payload: dict[str, Any] = json_of(held)

    def __repr__(self) -> str:
        return f"{self.seq} {self.type} {self.payload}"


def json_of(held: record.Record) -> dict[str, Any]:
    loaded = json.loads(held.payload)
    assert isinstance(loaded, dict)
    return loaded


class Node:
    """Starts runs and looks at what they leave."""

    def __init__(self, home: Path, spawner: SpawnerClient) -> None:
        self.home = home
        self.path = home / "node"
        self.code = home / "code"
        self.spawner = spawner
        self.runs: list[RunDir] = []

    def accept(self, *command: str, kind: str = "command", **changes: Any) -> RunDir:
        """A run that is accepted and not started. ``changes`` are fields of StartRun; a workspace is made."""
        run_id = str(new_id())
        fields: dict[str, Any] = {
            "run": run_id, "project": str(new_id()), "project_slug": "demo", "agent": str(new_id()),
            "agent_name": "demo", "prompt": "Do it.", "input_id": str(new_id()), "stop_grace_seconds": 0.3,
            "runtime": RuntimeSpec.model_validate({"kind": kind, "command": list(command)}),
            "workspace": Workspace(mode="use_existing", workdir=str(self.code)),
        }  # fmt: skip
        run = RunDir(self.path / "runs", run_id)
        run.write_spec(StartRun.model_validate({**fields, **changes}))
        self.runs.append(run)
        return run

    async def start(self, *command: str, **changes: Any) -> RunDir:
        run = self.accept(*command, **changes)
        await self.spawner.start(run.run_id)
        return run

    async def finish(self, *command: str, **changes: Any) -> list[Event]:
        """Start a run and wait for its end."""
        run = await self.start(*command, **changes)
        await self.ended(run)
        return self.events(run)

    async def ended(self, run: RunDir, timeout: float = 30.0) -> None:
        await eventually_async(lambda: run.standing() is Standing.ENDED, timeout)

    def events(self, run: RunDir) -> list[Event]:
        reader = SpoolReader(run.path, run.generation())
        found: list[Event] = []
        while batch := reader.read():
            found += [Event(record.decode(body)) for _, body in record.frames(batch.frames)]
        return found

    async def event(self, run: RunDir, type_: str, timeout: float = 20.0) -> Event:
        """The first event of a type, as soon as it is there."""
        found = await eventually_async(
            lambda: [event for event in self.events(run) if event.type == type_] if run.has_begun() else [], timeout
        )
        return found[0]

    async def connect(self, run: RunDir) -> SupervisorClient:
        """As soon as the supervisor listens. Raises ``NoSupervisor`` where the run has ended."""
        while True:
            try:
                return await SupervisorClient.connect(run.control_socket)
            except NoSupervisor:
                if run.standing() is Standing.ENDED:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    async def tell(self, run: RunDir, body: Body) -> None:
        """A command, as the node server hands it on."""
        accepted = Accepted(str(new_id()), body.KIND, body.model_dump(mode="json"))
        run.commands.accept(accepted.id, accepted.kind, accepted.body)
        with contextlib.suppress(NoSupervisor):  # it is about to begin, and reads the log, or about to leave
            client = await self.connect(run)
            await client.send_command(accepted)
            await client.aclose()
        await eventually_async(lambda: run.commands.pending() == [])

    def leftovers(self) -> list[int]:
        """Processes of any run of this test."""
        ids = [run.run_id for run in self.runs]
        return [s.pid for s in proc.all_stats() if s.state != "Z" and any(proc.has_marker(s.pid, id_) for id_ in ids)]

    def supervisor_pid(self, run: RunDir) -> int:
        holder = run.holder()
        assert holder is not None and run.is_locked()
        return holder.pid


def texts(events: Sequence[Event], stream: str = "stdout") -> str:
    return "".join(e.payload["text"] for e in events if e.type == "run.output" and e.payload["stream"] == stream)


def only(events: Sequence[Event], type_: str) -> dict[str, Any]:
    """The payload of the one event of this type."""
    (found,) = [event.payload for event in events if event.type == type_]
    return found


@pytest.fixture(scope="session")
def shared_home() -> Iterator[Path]:
    """A home whose spawner is shared, since it takes seconds to warm up."""
    home = Path(tempfile.mkdtemp(prefix="ahs-", dir="/tmp")).resolve()
    yield home
    stop_spawner(home / "node")
    shutil.rmtree(home, ignore_errors=True)


def stop_spawner(node_dir: Path) -> None:
    lock = node_dir / "spawner.lock"
    pid = int(lock.read_text() or 0) if lock.exists() else 0
    if pid and proc.stat_of(pid):
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: (stat := proc.stat_of(pid)) is None or stat.state == "Z")


@pytest.fixture
def make_client(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], SpawnerClient]:
    """Spawner clients, as the node server of a home makes them."""
    monkeypatch.setenv("AGENTHUB_SECRET_KEY", HUB_SECRET)
    monkeypatch.setenv("AGENTHUB_DATABASE__URL", "postgresql://hub:hub@db/hub")

    def make(home: Path) -> SpawnerClient:
        safe = SafePaths((home / "code",), home / "worktrees")
        return SpawnerClient(home / "node", home / "logs" / "spawner.log", safe)

    return make


@pytest.fixture
async def node(shared_home: Path, make_client: Callable[[Path], SpawnerClient]) -> AsyncIterator[Node]:
    code = shared_home / "code"
    shutil.rmtree(code, ignore_errors=True)
    code.mkdir()
    spawner = make_client(shared_home)
    await spawner.ensure()
    node = Node(shared_home, spawner)
    yield node
    for run in node.runs:
        if run.is_locked():
            os.kill(node.supervisor_pid(run), signal.SIGTERM)
    await asyncio.gather(*(node.ended(run) for run in node.runs if run.has_begun()))
    assert node.leftovers() == []
    await spawner.aclose()


@pytest.fixture
def refuse_writes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Callable[[], None]]:
    """From the call on the spool's disk is full; what is returned makes room again."""

    def refuse() -> Callable[[], None]:
        def full(_fd: int, _data: bytes) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("nodes.server.spool.write_all", full)
        return monkeypatch.undo

    return refuse
