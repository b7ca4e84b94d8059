"""A small supervisor for adapters' tests: a real process and real pipes, answers by rule, events in a list."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from nodes.contract.commands import RuntimeSpec, StartRun, Workspace
from nodes.contract.events import MessageDelta, Output, Payload, ThoughtDelta
from nodes.contract.reasons import Reason
from nodes.contract.runtime import Answer, Question, RuntimeFailed, RuntimeInfo, TextKind, ToolServer

P = TypeVar("P", bound=Payload)
Rule = Callable[[Question], str | None]
"""The wanted kind of option, or None: cancelled."""


def allow(question: Question) -> str | None:
    return "allow_once"


def reject(question: Question) -> str | None:
    return "reject_once"


class SmallProcess:
    def __init__(
        self, popen: "subprocess.Popen[bytes]", stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader
    ) -> None:
        self.popen, self.stdin, self.stdout = popen, stdin, stdout
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._watch = asyncio.create_task(self._wait())

    @property
    def pid(self) -> int:
        return self.popen.pid

    async def _wait(self) -> None:
        while self.popen.poll() is None:
            await asyncio.sleep(0.01)
        self.exited.set_result(self.popen.returncode)


class SmallHost:
    """Implements ``Host``. ``marker`` finds whatever the agent left behind."""

    def __init__(
        self, workspace: Path, runtime: RuntimeSpec, rule: Rule = allow, environ: Mapping[str, str] = os.environ
    ):
        self.workspace = workspace.resolve()
        self.environ = environ
        self.rule = rule
        self.marker = f"AGENTHUB_RUN_ID={workspace.name}-{id(self)}"
        self.info = RuntimeInfo()
        self.events: list[Payload] = []
        self.questions: list[Question] = []
        self.cancelled_questions = 0
        self.never_answers = False
        self.tool_servers: list[ToolServer] = []
        self.process: SmallProcess | None = None
        self.spec = StartRun(
            run="run", project="project", project_slug="demo", agent="agent", agent_name="demo", runtime=runtime,
            workspace=Workspace(mode="use_existing", workdir=str(workspace)), prompt="", input_id="1",
        )  # fmt: skip

    async def spawn(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> SmallProcess:
        name, _, value = self.marker.partition("=")
        env = {**self.environ, **(environment or {}), name: value}
        try:
            with (self.workspace.parent / "stderr").open("ab") as stderr:
                popen = subprocess.Popen(
                    command, cwd=self.workspace, env=env, start_new_session=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                )  # fmt: skip
        except FileNotFoundError as error:
            raise RuntimeFailed(Reason.RUNTIME_NOT_INSTALLED, f"There is no {command[0]}.") from error
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), popen.stdout)
        writing, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, popen.stdin)
        self._transports = (reading, writing)
        self.process = SmallProcess(popen, asyncio.StreamWriter(writing, protocol, None, loop), reader)
        return self.process

    def emit(self, payload: Payload) -> None:
        type(payload).model_validate_json(payload.model_dump_json())
        self.events.append(payload)

    def emit_text(self, kind: TextKind, text: str, message_id: str = "") -> None:
        match kind:
            case "message":
                self.emit(MessageDelta(message_id=message_id, text=text))
            case "thought":
                self.emit(ThoughtDelta(message_id=message_id, text=text))
            case "stdout" | "stderr":
                self.emit(Output(stream=kind, text=text))

    async def ask(self, question: Question) -> Answer:
        self.questions.append(question)
        try:
            if self.never_answers:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled_questions += 1
            raise
        wanted = self.rule(question)
        return Answer(next((option.option_id for option in question.options if option.kind == wanted), None))

    def of(self, type_: type[P]) -> list[P]:
        return [event for event in self.events if isinstance(event, type_)]

    def said(self) -> str:
        return "".join(event.text for event in self.of(MessageDelta))

    def left_behind(self) -> list[int]:
        """Processes that carry this run's marker."""
        return marked(self.marker)

    def end(self) -> None:
        """Kill whatever is left and close the pipes."""
        for pid in self.left_behind():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.popen.wait(10)
            for transport in self._transports:
                transport.close()


def marked(marker: str) -> list[int]:
    """Living processes whose environment holds ``marker``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                variables = (entry / "environ").read_bytes().split(b"\0")
                if marker.encode() in variables:
                    found.append(int(entry.name))
    return found


def types(events: Sequence[Payload]) -> list[str]:
    """The events' types, repeats once."""
    names: list[Any] = [event.TYPE for event in events]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]
