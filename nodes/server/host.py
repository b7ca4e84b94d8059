"""What a supervisor offers to its runtime's adapter: a process, a place for events, and answers."""

import asyncio
import codecs
import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from nodes.contract.commands import StartRun
from nodes.contract.events import Payload
from nodes.contract.own_tools import SERVER
from nodes.contract.runtime import AgentProcess, Answer, Question, TextKind, ToolServer
from nodes.runtimes.presets import PRESETS

from .asking import Questions
from .environment import agent_environment, masked_environment
from .node_secrets import PREFIX, filled_in
from .other_user import OtherUser
from .proc import RUN_MARKER
from .process import READ_BYTES, Process
from .recorder import Recorder
from .redaction import secret_values
from .sandbox import Sandbox

EARLY_EVENTS = 1_000
"""Events before the run is said to have started, kept back at most; more are left out."""
LAST_WORDS_SECONDS = 1.0
"""How long standard error is read once everything of the run has ended."""


class RunHost:
    """The ``Host`` of one run."""

    def __init__(
        self,
        spec: StartRun,
        workspace: Path,
        recorder: Recorder,
        questions: Questions,
        on_sound: Callable[[], None],
        *,
        secrets: Mapping[str, str] = MappingProxyType({}),
        ours: Mapping[str, str] = MappingProxyType({}),
        tools: str = "",
        isolate: Callable[[Sequence[str]], Sandbox | None] = lambda _command: None,
        user: OtherUser | None = None,
    ) -> None:
        self._spec = spec
        self._workspace = workspace
        self._recorder = recorder
        self._questions = questions
        self._on_sound = on_sound
        self._isolate = isolate
        self._user = user
        self._secrets = secrets
        self._ours = ours
        self._tools = tools
        self._early: list[Callable[[], None]] | None = []
        self._stderr: asyncio.Task[None] | None = None
        self.process: Process | None = None
        self.spawn_seconds = 0.0

    @property
    def spec(self) -> StartRun:
        return self._spec

    @property
    def workspace(self) -> Path:
        return self._workspace

    @property
    def tool_servers(self) -> Sequence[ToolServer]:
        """The hub's, if the run is to have it: ``agenthub mcp``, which asks the node as ``agenthub actor`` does.

        What an agent starts its servers with is its own affair, so all that this one needs is named.
        """
        if not self._spec.mcp:
            return []
        command = [str(Path(self._tools) / "agenthub"), "mcp"]
        return [ToolServer(SERVER, command, {**self._ours, RUN_MARKER: self._spec.run})]

    async def spawn(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> AgentProcess:
        if self.process is not None:
            raise RuntimeError("A run has one process, and it was started already.")
        preset = PRESETS.get(self._spec.runtime.preset)
        own = filled_in(self._spec.runtime.environment if environment is None else environment, self._secrets)
        secret_names = preset.secret_names if preset else ()
        variables = agent_environment(self._spec.run, own, secret_names, ours=self._ours, tools=self._tools)
        if self._user is not None:
            variables = self._user.environment(variables)
        began = time.monotonic()
        sandbox = self._isolate(command)
        if sandbox is not None:
            variables = masked_environment(variables)
        self.process = await Process.start(command, self._workspace, variables, sandbox=sandbox)
        self.spawn_seconds = time.monotonic() - began
        self.process.hold_output(self._recorder.is_full)
        self._stderr = asyncio.create_task(self._read_stderr(self.process.stderr))
        return self.process

    def emit(self, payload: Payload) -> None:
        self._on_sound()
        self._pass(lambda: self._recorder.emit(payload))

    def emit_text(self, kind: TextKind, text: str, message_id: str = "") -> None:
        self._on_sound()
        self._pass(lambda: self._recorder.emit_text(kind, text, message_id))

    async def ask(self, question: Question) -> Answer:
        self._on_sound()
        return await self._questions.ask(question)

    def let_through(self) -> None:
        """The run is said to have started (or not to): what came before that follows now."""
        early, self._early = self._early or [], None
        for say in early:
            say()

    def hold_output(self, is_held: bool) -> None:
        """Whether the agent has to wait with what it prints."""
        if self.process is not None:
            self.process.hold_output(is_held)

    async def last_words(self) -> None:
        """Read what is left of standard error."""
        if self._stderr is not None:
            await asyncio.wait((self._stderr,), timeout=LAST_WORDS_SECONDS)
            self._stderr.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._stderr

    def _pass(self, say: Callable[[], None]) -> None:
        if self._early is None:
            say()
        elif len(self._early) < EARLY_EVENTS:
            self._early.append(say)

    async def _read_stderr(self, stderr: asyncio.StreamReader) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := await stderr.read(READ_BYTES):
            self.emit_text("stderr", decoder.decode(data))
        self.emit_text("stderr", decoder.decode(b"", final=True))


def known_secrets(spec: StartRun) -> set[str]:
    """Values that must not leave this node: those the agent was given, and the node's own."""
    preset = PRESETS.get(spec.runtime.preset)
    named = {os.environ[name] for name in (preset.secret_names if preset else ()) if name in os.environ}
    given = [(name, text) for name, text in spec.runtime.environment.items() if not text.startswith(PREFIX)]
    return named | secret_values(given) | secret_values(os.environ.items())
