"""A run under its real supervisor, without spawner, node server and hub: this process plays the node.

``python -m tests.fakes.supervised NODE_DIR RUN_ID SAFE_PATHS`` is the supervisor's process.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from nodes.contract.commands import Body, CancelRun, DecideApproval, RuntimeSpec, SendInput, StartRun, Workspace
from nodes.contract.events import (
    ENDINGS,
    PAYLOADS,
    ApprovalRequested,
    MessageDelta,
    Output,
    Payload,
    RunFailed,
)
from nodes.contract.ids import new_id
from nodes.contract.record import decode, frames
from nodes.runtimes.presets import PRESETS
from nodes.server.commandlog import Accepted
from nodes.server.control import NoSupervisor, SupervisorClient
from nodes.server.paths import SafePaths
from nodes.server.proc import RUN_MARKER
from nodes.server.rundir import RunDir
from nodes.server.spool import SpoolReader
from nodes.server.supervisor import supervise
from tests.fakes.small_host import marked
from tests.support import eventually_async

P = TypeVar("P", bound=Payload)
ROOT = Path(__file__).parents[2]


class SupervisedRun:
    """One run in ``home``: started by ``start``, told things by ``send``, followed by its spool."""

    def __init__(self, home: Path) -> None:
        self.id = str(new_id())
        self.workspace = home / "work"
        self.workspace.mkdir(exist_ok=True)
        self.safe = SafePaths((home,), home / "worktrees")
        self.dir = RunDir(home / "runs", self.id)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, prompt: str, runtime: RuntimeSpec | None = None, **changes: object) -> None:
        """Accept the run as a node does, and begin it. The scripted agent, unless told otherwise."""
        fields: dict[str, object] = {
            "run": self.id, "project": str(new_id()), "project_slug": "demo", "agent": str(new_id()),
            "agent_name": "demo", "runtime": runtime or scripted(), "prompt": prompt, "input_id": "input-1",
            "workspace": Workspace(mode="use_existing", workdir=str(self.workspace)), "stop_grace_seconds": 1.0,
        }  # fmt: skip
        self.dir.write_spec(StartRun.model_validate({**fields, **changes}))
        command = [sys.executable, "-m", __name__, str(self.dir.path.parent), self.id, json.dumps(self.safe.as_json())]
        self.process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)

    # What it wrote.

    def events(self) -> list[Payload]:
        """Everything in the spool so far."""
        if not self.dir.has_begun():
            return []
        reader = SpoolReader(self.dir.path, self.dir.generation())
        found: list[Payload] = []
        while batch := reader.read():
            for _, body in frames(batch.frames):
                record = decode(body)
                found.append(PAYLOADS[record.type].model_validate_json(record.payload))
        return found

    def of(self, type_: type[P]) -> list[P]:
        return [event for event in self.events() if isinstance(event, type_)]

    def said(self) -> str:
        return "".join(event.text for event in self.of(MessageDelta))

    def printed(self) -> str:
        return "".join(event.text for event in self.of(Output))

    async def until(self, predicate: Callable[[], object], seconds: float = 60.0) -> None:
        await eventually_async(predicate, seconds)

    async def ended(self, seconds: float = 60.0) -> Payload:
        """The one ending, once the supervisor has left."""
        process = self.process
        assert process
        await eventually_async(lambda: process.poll() is not None, seconds)
        endings = [event for event in self.events() if event.TYPE in ENDINGS]
        assert len(endings) == 1, [event.TYPE for event in self.events()]
        assert self.events()[-1] is not None
        assert self.events()[-1].TYPE in ENDINGS
        return endings[0]

    async def failed(self, seconds: float = 60.0) -> RunFailed:
        ending = await self.ended(seconds)
        assert isinstance(ending, RunFailed), ending
        return ending

    # What it is told.

    async def send(self, body: Body) -> None:
        """A command, as the node server gives it: logged first, then handed on."""
        command = Accepted(str(new_id()), body.KIND, body.model_dump(mode="json"))
        self.dir.commands.accept(command.id, command.kind, command.body)
        with suppress(NoSupervisor):  # it reads the log when it begins, and needs nothing once it has ended
            client = await SupervisorClient.connect(self.dir.control_socket)
            await client.send_command(command)
            async for message in client:
                if getattr(message, "id", "") == command.id:
                    break
            await client.aclose()

    async def cancel(self) -> None:
        await self.send(CancelRun(run=self.id))

    async def input(self, text: str) -> None:
        await self.send(SendInput(run=self.id, input_id=str(new_id()), text=text))

    async def question(self, seconds: float = 60.0) -> ApprovalRequested:
        """The newest question, once there is one."""
        await self.until(lambda: self.of(ApprovalRequested), seconds)
        return self.of(ApprovalRequested)[-1]

    async def answer(self, kind: str) -> ApprovalRequested:
        """Choose the newest question's option of that kind."""
        question = await self.question()
        option = next(option.option_id for option in question.options if option.kind == kind)
        await self.send(
            DecideApproval(
                run=self.id, approval_id=question.approval_id, action_hash=question.action_hash,
                outcome="selected", option_id=option,
            )
        )  # fmt: skip
        return question

    # What it left.

    def agent_pid(self) -> int:
        """The agent's process: the supervisor's one child that carries the marker."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii").split()
        (pid,) = set(self.alive()) & set(map(int, children))
        return pid

    def alive(self) -> list[int]:
        return marked(f"{RUN_MARKER}={self.id}")

    def end(self) -> None:
        """Whatever happened: nothing is left."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for pid in self.alive():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def scripted(*options: str, **environment: str) -> RuntimeSpec:
    """The scripted agent without pauses."""
    command = [*PRESETS["scripted"].command, "--pace", "0", *options]
    return RuntimeSpec(kind="acp", preset="scripted", command=command, environment=environment)


if __name__ == "__main__":
    node_dir, run_id, safe_paths = sys.argv[1:]
    sys.exit(supervise(RunDir(Path(node_dir), run_id), SafePaths.from_json(json.loads(safe_paths))))
