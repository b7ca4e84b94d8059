"""States and reasons in plain words: what it means and what to do next. The run page's script reads the same table."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from agents.models import Run
from agents.queries import waiting_for
from agents.states import ON_NODE, State
from nodes.contract.reasons import Reason


@dataclass(frozen=True, slots=True)
class Words:
    """What a reason means, and what a person can do about it."""

    means: str
    next: str = ""


REASONS: Final[dict[Reason, Words]] = {
    Reason.QUEUED: Words("Waiting for its turn.", "It starts by itself."),
    Reason.NODE_OFFLINE: Words(
        "Waiting for its node, which is offline.",
        "It starts by itself when the node is back; look at that machine, or give the agent another node.",
    ),
    Reason.NODE_CORDONED: Words(
        "Waiting for its node, which takes no new runs at present.",
        "It starts by itself when a root operator uncordons the node; or give the agent another node.",
    ),
    Reason.NO_MATCHING_NODE: Words(
        "Waiting for a node that fits.",
        "It starts by itself when there is one: label a node, put it into the pool, or change where the agent runs.",
    ),
    Reason.CAPACITY: Words(
        "Waiting for a free place on its node.", "It starts by itself when another run there ends, or is cancelled."
    ),
    Reason.ROUTE_MISSING: Words(
        "Waiting for a route: its project may not use the node.",
        "It starts by itself when a root operator adds the route; or give the agent another node.",
    ),
    Reason.STARTING: Words("The node is starting the runtime.", "The first step shows below in a moment."),
    Reason.APPROVAL: Words(
        "Waiting for an approval.", "Answer the question in the timeline; without an answer in time it is no."
    ),
    Reason.INPUT: Words("Waiting for your next prompt.", "Write below, or cancel the run to end it."),
    Reason.STALLED: Words(
        "The runtime has been silent for a while.", "It may be thinking or stuck: interrupt it, or cancel the run."
    ),
    Reason.CANCEL_REQUESTED: Words(
        "Stopping: the agent was asked to leave and is killed if it does not.",
        "Nothing is left to do; it ends by itself.",
    ),
    Reason.NODE_SILENT: Words(
        "The node has been silent for too long, so this run's fate is unknown.",
        "It goes on by itself when the node is back; look at the machine and its network.",
    ),
    Reason.NODE_REVOKED: Words(
        "The node was revoked, so the hub hears no more of this run.",
        "Join the machine again under the same name and it goes on; else it ends as failed in an hour.",
    ),
    Reason.FINISHED: Words("Finished."),
    Reason.CANCELLED: Words(
        "Cancelled before it was done.", "What the agent wrote so far is in its workspace; run it again to go on."
    ),
    Reason.REFUSED: Words("The run was refused.", "The message says why; change the agent and start it again."),
    Reason.BUDGET_EXCEEDED: Words(
        "Its budget was spent.", "It starts again in the next period, or when an owner raises the budget."
    ),
    Reason.AGENT_EXITED: Words(
        "The agent's program ended with an error.",
        "Its last output is at the end of the timeline; start another run when that is mended.",
    ),
    Reason.AGENT_KILLED: Words("The agent's program was killed.", "Somebody or something on the node ended it."),
    Reason.OUT_OF_MEMORY: Words(
        "The agent's program was killed: the node ran out of memory.",
        "Run fewer agents there at once, or give the node more memory.",
    ),
    Reason.AGENT_FAILED: Words(
        "The agent ended its turn with an error.", "The message says what it was; often a model that cannot be reached."
    ),
    Reason.PROTOCOL_ERROR: Words(
        "The runtime broke its protocol.",
        "Check that its version is one this hub knows; see its output in the timeline.",
    ),
    Reason.RUNTIME_NOT_INSTALLED: Words(
        "The runtime is not installed on this node.", "Install it there, or choose another runtime or node."
    ),
    Reason.RUNTIME_START_FAILED: Words(
        "The runtime did not start.", "Its output is in the timeline; try the same command on the node by hand."
    ),
    Reason.LOGIN_REQUIRED: Words(
        "The runtime is not signed in on this node.", "Sign in there as the node's user, or set its key."
    ),
    Reason.ISOLATION_UNAVAILABLE: Words(
        "No node that it may use can isolate the run as is demanded.",
        "Run `agenthub doctor` on the node: it says what is missing. Or let the agent run on another node.",
    ),
    Reason.SECRET_MISSING: Words(
        "A secret that the agent needs is not set on its node.",
        "The message has the command to set it there.",
    ),
    Reason.OUTSIDE_SAFE_PATHS: Words(
        "The workspace lies outside of what the node allows to the project.",
        "The message says which directories would do.",
    ),
    Reason.WORKSPACE_MISSING: Words(
        "The workspace is gone.", "Restore the directory, or change the agent's workspace."
    ),
    Reason.WORKSPACE_FAILED: Words(
        "The workspace could not be made.", "Check the repository and the reference in the agent's settings."
    ),
    Reason.PROMPT_TOO_LARGE: Words(
        "The prompt is too long for this agent's command line.", "Shorten it, or put it into a file of the workspace."
    ),
    Reason.TURN_TIMEOUT: Words(
        "A turn took longer than the agent allows.", "Raise the turn's time limit, or ask for less."
    ),
    Reason.START_TIMEOUT: Words(
        "The runtime did not become ready in time.", "Look at the node's load; then start it again."
    ),
    Reason.SUPERVISOR_LOST: Words(
        "The run's supervisor died, so the run was ended and cleaned up.", "Start another run; the workspace is kept."
    ),
    Reason.NODE_REBOOTED: Words(
        "The node restarted in the middle of the run.", "Start another run; the workspace is kept."
    ),
    Reason.DISCONNECTED: Words(
        "Its node was without the hub for longer than its agent allows, and stopped it.",
        "Look at the network between them, or let the agent's runs go on for longer; then start another run.",
    ),
    Reason.NODE_LOST_RUN: Words("The node no longer knows this run.", "Start another run."),
    Reason.NODE_GONE: Words("The node is gone for good.", "Choose another node for the agent."),
    Reason.DISK_FULL: Words("The node's disk is full.", "Make room there; then start another run."),
    Reason.INTERNAL: Words("Something went wrong on our side.", "The hub's and the node's logs have the details."),
}

COLOURS: Final[dict[State, str]] = {
    State.QUEUED: "secondary",
    State.STARTING: "azure",
    State.RUNNING: "blue",
    State.WAITING: "yellow",
    State.STOPPING: "orange",
    State.LOST: "purple",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "secondary",
    State.TIMED_OUT: "red",
}
"""The colour of a state's dot and badge."""

MOVING: Final = frozenset({State.STARTING, State.RUNNING, State.STOPPING})
"""States whose dot pulses: something is happening right now."""


def explain(run: Run, now: datetime) -> Words | None:
    """What a run waits for, or why it ended as it did, and what to do; None where its state says it all."""
    if run.state == State.SUCCEEDED or not run.reason:
        return None
    words = REASONS[Reason(run.reason)]
    if run.state == State.QUEUED and run.message:
        return Words(f"Waiting for {waiting_for(run)}.", words.next)
    if run.state == State.STARTING and run.reason == Reason.NODE_OFFLINE:
        return Words(words.means, "It starts by itself when the node is back; look at that machine, or cancel the run.")
    if run.state in ON_NODE - {State.LOST} and run.node and run.node.is_silent(now):
        return Words(f"{words.means} Its node has fallen silent, so this may be old.", REASONS[Reason.NODE_SILENT].next)
    return words


def state_name(state: str) -> str:
    """``timed_out`` as people write it."""
    return state.replace("_", " ")


def table() -> dict[str, dict[str, str]]:
    """All reasons, for the run page's script."""
    return {reason.value: asdict(words) for reason, words in REASONS.items()}


WORK_COLOURS: Final = {
    "draft": "secondary",
    "awaiting_operator_approval": "yellow",
    "pending": "secondary",
    "claimed": "azure",
    "dispatched": "azure",
    "in_progress": "blue",
    "awaiting_review": "purple",
    "changes_requested": "orange",
    "rejected": "red",
    "completed": "green",
    "approved": "green",
    "closed": "secondary",
    "cancelled": "secondary",
}
"""Of the states of tasks, rounds and assignments."""


def work_name(state: str) -> str:
    """A state of coordinated work in words."""
    return {"awaiting_operator_approval": "awaiting approval"}.get(state, state.replace("_", " "))
