"""What the hub asks of a node: the bodies of the outbox's commands, as JSON on the link and in the run's directory."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from .events import Who
from .isolation import Isolation, Network
from .limits import APPROVAL_SECONDS
from .policy import Policy


class Body(BaseModel):
    """Base of command bodies. A node ignores fields that a newer hub added."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    KIND: ClassVar[str]


class Workspace(BaseModel):
    """Where the agent works. Paths are the node's and are resolved and checked there, at every use."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    mode: Literal["use_existing", "create_worktree", "reuse_worktree"]
    workdir: str = ""
    repository: str = ""
    ref: str = "HEAD"
    worktree_root: str = ""
    """Where worktrees are made, as the hub's registry says it; empty: where the node's configuration says. Older nodes
    do not know it."""


class RuntimeSpec(BaseModel):
    """Which program, through which adapter. ``command`` empty means the preset's own."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    kind: Literal["acp", "command"]
    preset: str = ""
    command: list[str] = []
    model: str = ""
    environment: dict[str, str] = {}


class StartRun(Body):
    """Everything a node needs to know to execute a run. Written to ``spec.json`` before it is accepted."""

    KIND = "start_run"
    run: str
    project: str
    project_slug: str
    agent: str
    agent_name: str
    user: str = ""
    runtime: RuntimeSpec
    workspace: Workspace
    policy: Policy = Policy()
    isolation: Isolation = "none"
    """At the least. A node that does not know this field is not sent a run that demands more than ``none``."""
    network: Network = "shared"
    prompt: str
    input_id: str
    session: str = ""
    """The runtime's session of an earlier run, to be taken up; if the runtime cannot, a new one begins."""
    keep_open: bool = False
    mcp: bool = False
    """Whether the agent is given the hub's MCP server, through its node. Older nodes do not know it."""
    approval_seconds: Annotated[float, Field(gt=0)] = APPROVAL_SECONDS
    stall_seconds: Annotated[float, Field(gt=0)] = 60.0
    start_seconds: Annotated[float, Field(gt=0)] = 90.0
    turn_seconds: Annotated[float, Field(gt=0)] | None = None
    stop_grace_seconds: Annotated[float, Field(ge=0)] = 5.0
    stop_after_seconds: Annotated[float, Field(gt=0)] | None = None
    """Without its hub for so long the run is stopped where it is; None: it goes on. Older nodes know only that."""


class CancelRun(Body):
    """Stop the run: interrupt, grace, kill, sweep. For an unknown run it leaves a tombstone."""

    KIND = "cancel_run"
    run: str
    by: Who | None = None


class SendInput(Body):
    """One more prompt: after the present turn (``queue``) or in its place (``interrupt``)."""

    KIND = "send_input"
    run: str
    input_id: str
    text: str
    mode: Literal["queue", "interrupt"] = "queue"


class DecideApproval(Body):
    """The answer to an approval; void if the action is no longer the one that was hashed."""

    KIND = "decide_approval"
    run: str
    approval_id: str
    action_hash: str
    outcome: Literal["selected", "cancelled"]
    option_id: str = ""


class SetPolicy(Body):
    """The policy as it is from now on, for what is asked next and for what is open. Older nodes do not know it."""

    KIND = "set_policy"
    run: str
    policy: Policy


BODIES: dict[str, type[Body]] = {
    body.KIND: body for body in (StartRun, CancelRun, SendInput, DecideApproval, SetPolicy)
}
"""Every kind of command, by name."""
