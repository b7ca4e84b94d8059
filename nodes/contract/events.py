"""The event contract: every type of event with its declared, versioned payload.

Payloads forbid their writer undeclared fields and change only by addition, so whoever
reads a newer writer's leaves out what was added. The committed JSON
schemas under ``docs/events/`` are compared by a test. Texts in payloads are already
redacted and hold neither U+0000 nor lone surrogates.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field


class Payload(BaseModel):
    """Base of all payloads; a subclass names its event type and version."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")
    TYPE: ClassVar[str]
    VERSION: ClassVar[int] = 1

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """From JSON that a newer node may have written: fields that it added are left out. ``ValidationError``."""
        return cls.model_validate_json(text, extra="ignore")


class Part(BaseModel):
    """Base of what payloads are made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BlobRef(Part):
    """Bytes kept beside the event: SHA-256 in hex, and the size in bytes."""

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class Who(Part):
    """An actor as shown in an event."""

    kind: str
    id: str
    label: str = ""


# The run's life.


class StartPhases(Part):
    """What a start took at the node, in seconds: making the workspace, the process, and the runtime's handshake."""

    workspace_s: float
    spawn_s: float
    handshake_s: float


class RunStarted(Payload):
    """The agent's process is up. The first record of every run that got this far."""

    TYPE = "run.started"
    runtime: str
    preset: str = ""
    runtime_name: str = ""
    runtime_version: str = ""
    workspace: str
    base_commit: str = ""
    branch: str = ""
    isolation: Literal["none", "masked", "user"] = "none"
    network: Literal["shared", "none"] = "shared"
    secrets: list[str] = []
    session_id: str = ""
    has_resumed: bool = False
    """Whether the runtime goes on in an earlier run's session."""
    phases: StartPhases | None = None


class StateChanged(Payload):
    """Where the run is now, and why. ``message`` is for people."""

    TYPE = "run.state.changed"
    state: str
    reason: str = ""
    message: str = ""
    by: Who | None = None


class RunCompleted(Payload):
    TYPE = "run.completed"
    stop_reason: str = ""
    exit_code: int | None = None


class RunFailed(Payload):
    TYPE = "run.failed"
    reason: str
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    may_resume: bool = False


class RunCancelled(Payload):
    TYPE = "run.cancelled"
    reason: str = "cancelled"
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None


class RuntimeUnavailable(Payload):
    """The runtime cannot be used on this node. ``run.failed`` follows."""

    TYPE = "runtime.unavailable"
    reason: str
    message: str
    runtime: str = ""


class RuntimeTimeout(Payload):
    """A bound ran out. ``run.failed`` follows."""

    TYPE = "runtime.timeout"
    what: Literal["start", "turn", "run", "stop"]
    seconds: float


# Turns and what the agent says.


class TurnStarted(Payload):
    """A prompt was handed to the runtime. ``text`` is its first 16,000 characters."""

    TYPE = "run.turn.started"
    turn: int
    input_id: str
    text: str
    truncated: bool = False


class TurnCompleted(Payload):
    TYPE = "run.turn.completed"
    turn: int
    stop_reason: str


class MessageDelta(Payload):
    TYPE = "run.message.delta"
    message_id: str
    text: str


class MessageCompleted(Payload):
    """The whole message; with ``truncated`` only its beginning, the deltas hold the rest."""

    TYPE = "run.message.completed"
    message_id: str
    text: str
    truncated: bool = False


class ThoughtDelta(Payload):
    TYPE = "run.thought.delta"
    message_id: str
    text: str


class PlanEntry(Part):
    content: str
    priority: str = ""
    status: str = ""


class PlanUpdated(Payload):
    """The whole plan; replaces the one before."""

    TYPE = "run.plan.updated"
    entries: list[PlanEntry]


class ToolContent(Part):
    """A piece of a tool call: a text, or a proposed change of a file."""

    type: Literal["text", "diff", "terminal", "other"]
    text: str = ""
    path: str = ""
    old_text: str | None = None
    new_text: str | None = None


class ToolCall(Payload):
    """A tool call as known so far: readers upsert by ``tool_call_id``."""

    TYPE = "run.tool.call"
    tool_call_id: str
    title: str = ""
    kind: str = "other"
    status: str = "pending"
    paths: list[str] = []
    input: str = ""
    content: list[ToolContent] = []


class ToolResult(Payload):
    TYPE = "run.tool.result"
    tool_call_id: str
    title: str = ""
    kind: str = "other"
    content: list[ToolContent] = []
    output: str = ""


class ToolFailed(Payload):
    """The call failed, or (``unfinished``) its turn ended before it did."""

    TYPE = "run.tool.failed"
    tool_call_id: str
    title: str = ""
    kind: str = "other"
    content: list[ToolContent] = []
    output: str = ""
    unfinished: bool = False


class Output(Payload):
    """What a ``command`` runtime, or any agent's standard error, printed."""

    TYPE = "run.output"
    stream: Literal["stdout", "stderr"]
    text: str


class Usage(Payload):
    """Tokens and cost since the run began, as far as the runtime says; absent is unknown."""

    TYPE = "run.usage"
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    context_used: int | None = None
    context_size: int | None = None
    cost: float | None = None
    currency: str = ""


# What a person may want to look at.


class FileChange(Part):
    path: str
    status: Literal["added", "modified", "deleted", "renamed", "copied", "type_changed"]
    old_path: str = ""
    additions: int = 0
    deletions: int = 0
    binary: bool = False


class DiffReady(Payload):
    """The work as a patch against ``base_commit``, uncommitted and untracked files with it."""

    TYPE = "run.diff.ready"
    base_commit: str
    head_commit: str = ""
    files: list[FileChange]
    files_changed: int
    additions: int
    deletions: int
    patch: BlobRef | None = None
    truncated: bool = False


class ArtifactReady(Payload):
    TYPE = "run.artifact.ready"
    name: str
    media_type: str = "application/octet-stream"
    blob: BlobRef


class ApprovalOption(Part):
    """One of the runtime's own answers; ``kind`` is what it means."""

    option_id: str
    name: str
    kind: Literal["allow_once", "allow_always", "reject_once", "reject_always"]


class JudgedAction(Part):
    """One simple thing that a request would do, and what the policy said to it."""

    kind: Literal["read", "write", "shell", "network", "publish", "other"]
    tool: str = ""
    command: str = ""
    path: str = ""
    """Relative to the workspace, or absolute outside of it."""
    host: str = ""
    is_opaque: bool = False
    """Whether it could not be wholly understood: it is asked at best, and by no standing answer."""
    verdict: Literal["allow", "ask", "deny"]
    level: str = ""
    rule: str = ""
    """Which rule of which level decided; empty: the default."""
    grant: str = ""
    """Which standing answer allowed it."""
    is_strict: bool = False
    """Whether no standing answer could."""


class PolicyDecided(Payload):
    """The supervisor's fact: the policy answered what the runtime asked, and nobody was bothered."""

    TYPE = "run.policy.decided"
    verdict: Literal["allow", "deny"]
    kind: Literal["read", "write", "shell", "network", "publish", "other"]
    title: str
    tool_call_id: str = ""
    command: str = ""
    paths: list[str] = []
    level: str = ""
    rule: str = ""
    grant: str = ""
    """Who decided, of the gravest action."""
    actions: list[JudgedAction] = []
    option_id: str = ""
    approval_id: str = ""
    """Of the open question that a change of the policy answered."""


class ApprovalRequested(Payload):
    """A question before an action. ``action_hash`` is keyed per run on the node, over the unredacted action."""

    TYPE = "run.approval.requested"
    approval_id: str
    kind: Literal["read", "write", "shell", "network", "publish", "other"]
    title: str
    tool_call_id: str = ""
    command: str = ""
    paths: list[str] = []
    content: list[ToolContent] = []
    options: list[ApprovalOption]
    action_hash: str
    expires_in_seconds: float
    actions: list[JudgedAction] = []
    """What it comes down to, as the policy saw it."""
    level: str = ""
    rule: str = ""
    """Which rule asks; empty: none does, and so it is asked."""
    is_strict: bool = False
    """Whether a standing answer cannot answer it."""


class ApprovalDecided(Payload):
    """The hub's fact: somebody answered. Whether it took effect says ``run.approval.resolved``."""

    TYPE = "run.approval.decided"
    approval_id: str
    outcome: Literal["selected", "cancelled"]
    option_id: str = ""
    by: Who


class ApprovalResolved(Payload):
    """The supervisor's fact: what became of the question."""

    TYPE = "run.approval.resolved"
    approval_id: str
    result: Literal["applied", "expired", "superseded", "hash_mismatch"]
    outcome: Literal["selected", "cancelled"]
    option_id: str = ""


class ValidationFailed(Payload):
    """Something that does not fit the contract was left out; the run goes on."""

    TYPE = "schema.validation_failed"
    source: str
    error: str
    excerpt: str = ""
    dropped_bytes: int = 0


class GapFound(Payload):
    """Records that a node wrote can no longer be read (torn or flipped bytes on its disk)."""

    TYPE = "run.gap.found"
    after_origin_seq: int
    lost_bytes: int = 0
    message: str = ""


PAYLOADS: dict[str, type[Payload]] = {
    model.TYPE: model
    for model in (
        RunStarted, StateChanged, RunCompleted, RunFailed, RunCancelled, RuntimeUnavailable, RuntimeTimeout,
        TurnStarted, TurnCompleted, MessageDelta, MessageCompleted, ThoughtDelta, PlanUpdated,
        ToolCall, ToolResult, ToolFailed, Output, Usage, DiffReady, ArtifactReady,
        ApprovalRequested, ApprovalDecided, ApprovalResolved, PolicyDecided, ValidationFailed, GapFound,
    )
}  # fmt: skip
"""Every event type, by name."""

ENDINGS = frozenset({RunCompleted.TYPE, RunFailed.TYPE, RunCancelled.TYPE})
"""Exactly one of these ends a run's stream."""

SYNCED = frozenset({*ENDINGS, ApprovalRequested.TYPE, ApprovalResolved.TYPE, TurnCompleted.TYPE, DiffReady.TYPE})
"""The spool is fsynced before a record of these types is forwarded."""

STATEFUL = frozenset({
    *ENDINGS, RunStarted.TYPE, StateChanged.TYPE, ApprovalRequested.TYPE, ApprovalResolved.TYPE, PolicyDecided.TYPE,
    DiffReady.TYPE,
})  # fmt: skip
"""Types that change more than the stream: the hub reads these, and stores the rest unread."""
