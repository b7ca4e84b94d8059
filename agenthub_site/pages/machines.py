"""A node as the page shows it: its health in words, and what can run there and what is missing."""

from dataclasses import dataclass
from math import isfinite
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any, Final

from django.utils.functional import cached_property

from agents.models import Agent
from nodes import health as judged
from nodes.health import NodeState
from nodes.models import Node
from nodes.runtimes.presets import PRESETS

_MODES: Final = {str(mode): str(label) for mode, label in Agent.WorkspaceMode.choices}
LITTLE_DISK_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Health:
    """``word`` and ``colour`` for the eye; ``means`` says what it is and what to do about it."""

    word: str
    colour: str
    means: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime on a node. ``hint`` is how to get there what is missing."""

    title: str
    version: str
    is_found: bool
    is_ready: bool
    says: str
    hint: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the node's health in words; ``value`` is empty where nobody has measured it."""

    name: str
    value: str
    level: str
    warning: str
    critical: str
    how: str


_WORKS: Final = {NodeState.ONLINE, NodeState.DEGRADED}
_WORDS: Final = {NodeState.UNKNOWN: "never connected"}
_COLOURS: Final = {
    NodeState.REVOKED: "secondary", NodeState.DISABLED: "secondary", NodeState.DRAINING: "yellow",
    NodeState.CORDONED: "yellow",
    NodeState.UNKNOWN: "secondary", NodeState.ONLINE: "green", NodeState.DEGRADED: "yellow", NodeState.OFFLINE: "red",
    NodeState.STALE: "yellow", NodeState.MISMATCH: "red", NodeState.UNAUTHORIZED: "red",
}  # fmt: skip
_MEANS: Final = {
    NodeState.REVOKED: "It is not let in. A root operator can let it join again.",
    NodeState.DISABLED: "It gets no new runs. A root operator can enable it in the admin.",
    NodeState.DRAINING: "It takes no new runs; those on it have not all ended.",
    NodeState.CORDONED: "It takes no new runs until a root operator uncordons it.",
    NodeState.UNKNOWN: "It has not said hello yet. Run the command to join there, or start its node server.",
    NodeState.ONLINE: "It takes new runs.",
    NodeState.OFFLINE: "It gets no new runs; queued ones wait for it. See whether machine and node server are up.",
}
"""What to do about it. Of the other states the health's own summary says what is the matter."""
_HOW: Final = {
    "latency_ms": "Median round trip over the link in the last minute, by the hub's clock.",
    "failure_rate": "Dials that made no link and links that broke, of all attempts in 15 minutes.",
    "agent_start_s": "From the command to the agent's start: median of the past hour's runs.",
    "disk_pct": "Of the worktree root's disk, as the node told with its last heartbeat.",
    "clock_skew_s": "How far the node's clock is from the hub's, less the way.",
}


def seems_outside(agent: Agent) -> bool:
    """Whether the agent's workspace, as it is written, lies outside of what its node said that it allows.

    The node resolves links, and decides; and what an agent of a pool gets is not known before.
    """
    is_made = agent.workspace_mode == Agent.WorkspaceMode.CREATE_WORKTREE
    path = agent.worktree_repo if is_made else agent.workdir
    if agent.node is None or not agent.node.allowed_roots or not path.startswith("/"):
        return False
    return not any(PurePosixPath(normpath(path)).is_relative_to(root) for root in agent.node.allowed_roots)


class Machine:
    """``live_runs`` are all that the node holds; ``seen_runs`` those that the reader may see."""

    def __init__(self, node: Node, known: judged.Health, *, live_runs: int = 0, seen_runs: int = 0) -> None:
        self.node = node
        self.live_runs = live_runs
        self.seen_runs = seen_runs
        self._known = known

    @cached_property
    def health(self) -> Health:
        """The node's state; for one that works or empties itself also how full it is."""
        state = self._known.state
        if state == NodeState.DRAINING and not self.live_runs:
            return Health("drained", "secondary", "No run is left on it; it takes none until it is uncordoned.")
        if state in _WORKS and self.disk_free is not None and self.disk_free < LITTLE_DISK_BYTES:
            return Health(state.value, "yellow", "Its disk is nearly full: runs stop when it is. Make room there.")
        if state == NodeState.ONLINE and self.live_runs >= self.takes:
            return Health("full", "yellow", "All its places are taken; queued runs wait for one.")
        return Health(_WORDS.get(state, state.value), _COLOURS[state], _MEANS.get(state, self._known.summary))

    @property
    def trouble(self) -> str:
        """What went wrong last on the way to it, with its address: for root operators."""
        return self._known.trouble

    @cached_property
    def figures(self) -> list[Figure]:
        return [
            Figure(
                name=threshold.words.capitalize(),
                value="" if figure.value is None else threshold.show(figure.value),
                level=figure.level.value,
                warning=_limit(threshold, threshold.warning),
                critical=_limit(threshold, threshold.critical),
                how=_HOW[name],
            )
            for name, (figure, threshold) in self._known.figures.items()
        ]

    @property
    def disk_free(self) -> int | None:
        """Bytes; None where the node has not said."""
        free = self.node.vitals.get("disk_free")
        return free if isinstance(free, int) and self.node.vitals.get("disk_total") else None

    @property
    def load(self) -> float | None:
        load: float | None = self.node.vitals.get("load")
        return load

    @property
    def memory(self) -> tuple[int, int] | None:
        """Free and total bytes."""
        free, total = self.node.vitals.get("memory_free"), self.node.vitals.get("memory_total")
        return (free, total) if free and total else None

    @property
    def disk(self) -> tuple[int, int] | None:
        """Free and total bytes where the worktrees are."""
        return None if self.disk_free is None else (self.disk_free, self.node.vitals["disk_total"])

    @property
    def git_version(self) -> str:
        version: str = self.node.facts.get("git_version", "")
        return version

    @property
    def takes(self) -> int:
        """Runs at once: the lesser of what the registry and what the node says."""
        told = self.node.facts.get("capacity") or self.node.capacity
        return min(self.node.capacity, told)

    @property
    def versions(self) -> dict[str, str]:
        versions: dict[str, str] = self.node.facts.get("versions", {})
        return versions

    @property
    def workspace_modes(self) -> list[str]:
        """In the words of the agents' form."""
        return [_MODES.get(mode, mode) for mode in self.node.facts.get("worktree_modes", ())]

    @cached_property
    def here(self) -> list[Runtime]:
        return [runtime for runtime in self._runtimes if runtime.is_found]

    @cached_property
    def missing(self) -> list[Runtime]:
        return [runtime for runtime in self._runtimes if not runtime.is_found]

    @cached_property
    def _runtimes(self) -> list[Runtime]:
        return [_runtime(told) for told in self.node.runtimes]


def _limit(threshold: judged.Threshold, value: float) -> str:
    return f"{value * threshold.scale:g} {threshold.unit}" if isfinite(value) else ""


def _runtime(told: dict[str, Any]) -> Runtime:
    """As the node told it. One that this hub does not know has its name, and no hint."""
    preset = PRESETS.get(told["preset"])
    found, ready = bool(told.get("found")), bool(told.get("found") and told.get("logged_in"))
    detail = told.get("detail") or ("" if ready else "not signed in" if found else "not installed")
    return Runtime(
        title=preset.title if preset else told["preset"],
        version=told.get("version") or "",
        is_found=found,
        is_ready=ready,
        says=detail.replace("logged in", "signed in") or "ready",
        hint=preset.install_hint if preset and not ready else "",
    )
