"""Between the supervisor and a runtime's adapter: what each offers the other.

The supervisor owns the process, the spool, the policy and the clock; an adapter owns
one protocol. An adapter never writes events past its host and never starts a process
on its own.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from .commands import StartRun
from .errors import HubError
from .events import ApprovalOption, Payload, ToolContent
from .policy import Action, ActionKind
from .reasons import Reason

TextKind = Literal["message", "thought", "stdout", "stderr"]


class RuntimeFailed(HubError):
    """The runtime cannot be used or broke its protocol; the run ends with ``reason``."""

    code, http, grpc = "runtime_failed", 502, "UNAVAILABLE"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message, reason=reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What the runtime said of itself once it was up."""

    name: str = ""
    version: str = ""
    session_id: str = ""
    may_resume: bool = False
    """Whether another process of this runtime can take the session up again."""
    has_resumed: bool = False
    """Whether this is the session that the run was to take up."""


@dataclass(frozen=True, slots=True)
class Question:
    """An action the runtime wants permission for, in its own words and with its own options."""

    kind: ActionKind
    title: str
    options: Sequence[ApprovalOption]
    action: str
    """The exact action, unredacted and canonical: what the hash is made over. Never leaves the node."""
    tool_call_id: str = ""
    command: str = ""
    paths: Sequence[str] = ()
    content: Sequence[ToolContent] = ()
    actions: Sequence[Action] = ()
    """What it comes down to: what the policy is asked about. Empty: one of ``kind``, of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``option_id`` of one of the question's options, or None: cancelled."""

    option_id: str | None


@dataclass(frozen=True, slots=True)
class ToolServer:
    """An MCP server that the agent starts for itself, and speaks to over its standard input and output."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    """Needed by it, and with the run's token in it: for nobody but the agent."""


class AgentProcess(Protocol):
    """The agent's process, started in its own session and process group; stderr goes to the run's output."""

    @property
    def pid(self) -> int: ...
    @property
    def stdin(self) -> asyncio.StreamWriter: ...
    @property
    def stdout(self) -> asyncio.StreamReader: ...
    @property
    def exited(self) -> "asyncio.Future[int]":
        """The exit status as ``Popen.returncode`` has it; watched beside the pipe, which may outlive the process."""
        ...


class Host(Protocol):
    """What a supervisor offers to its adapter. Nothing here blocks, except where it is awaited."""

    @property
    def spec(self) -> StartRun: ...
    @property
    def workspace(self) -> Path:
        """Resolved and checked; the process's working directory."""
        ...

    @property
    def tool_servers(self) -> Sequence[ToolServer]:
        """What the agent is to be given, beside the servers of its own configuration."""
        ...

    async def spawn(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> AgentProcess:
        """Start the agent's program (once). ``RuntimeFailed(RUNTIME_NOT_INSTALLED)`` if there is no such program."""
        ...

    def emit(self, payload: Payload) -> None:
        """Redact, number and spool one event; pending text is written before it."""
        ...

    def emit_text(self, kind: TextKind, text: str, message_id: str = "") -> None:
        """A piece of text, coalesced with its neighbours; ``message`` and ``thought`` belong to a message id."""
        ...

    async def ask(self, question: Question) -> Answer:
        """Policy first, then people. Bounded by the approval's expiry, which picks a reject option."""
        ...


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended, in ACP's words: end_turn, cancelled, refusal, max_tokens, …"""

    stop_reason: str
    is_failure: bool = False
    message: str = ""


class Runtime(Protocol):
    """One runtime's adapter, made anew for each run."""

    async def start(self, host: Host) -> RuntimeInfo:
        """Start the process and get it ready for prompts. Bounded by the caller (``start_seconds``)."""
        ...

    async def prompt(self, text: str) -> TurnEnd:
        """Run one turn to its end. All of its tool calls are closed when this returns."""
        ...

    async def interrupt(self) -> None:
        """End the present turn soon: open questions are cancelled, ``prompt`` returns ``cancelled``."""
        ...

    async def close(self) -> None:
        """Ask the process to leave (bounded, a few seconds). The supervisor kills what stays."""
        ...


@dataclass(frozen=True, slots=True)
class Preset:
    """A known agent, as data: how to start it and how to know that it can be used."""

    name: str
    title: str
    command: Sequence[str]
    kind: Literal["acp", "command"] = "acp"
    """Which adapter speaks to it. A ``command`` works through its prompt to the end, and cannot be made to ask."""
    version_command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Set for the process, chiefly to switch asking on and updates off."""
    mode: str = ""
    """The session mode that asks before acting; chosen when the agent offers it."""
    secret_names: Sequence[str] = ()
    """Variables of the node's environment that are passed on and redacted."""
    login_paths: Sequence[str] = ()
    """Files under the home directory, one of which shows a login; or one of ``secret_names`` is set."""
    config_paths: Sequence[str] = ()
    """Under the home directory: what is the agent's own, which it reads and writes when all else there is hidden."""
    readable: Sequence[str] = ()
    """Absolute: what it must be able to read, wherever that lies."""
    install_hint: str = ""
