"""How a node is: a pure function from what is known of it, and when, to a state, a status, levels and words.

What nobody has measured has no value and the level ``unknown``; it never counts against a node. Every door that says
how a node is, and the placing of runs, has its answer from here.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from nodes.contract.limits import HEARTBEAT_SECONDS, SILENT_SECONDS

DUPLICATE_SECONDS: Final = 180.0
"""A machine that was refused comes again each minute; this long after the last time it counts as gone."""
STALE_SECONDS: Final = 2.5 * HEARTBEAT_SECONDS
"""Two heartbeats missed and half a third: said, before the node counts as silent."""


class Status(StrEnum):
    UNKNOWN = "unknown"
    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"
    STALE = "stale"
    MISMATCH = "mismatch"
    UNAUTHORIZED = "unauthorized"


class NodeState(StrEnum):
    """How a node is, in one word: what operators decided of it, where that is the stronger; else its status."""

    REVOKED = "revoked"
    DISABLED = "disabled"
    DRAINING = "draining"
    CORDONED = "cordoned"
    UNKNOWN = "unknown"
    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"
    STALE = "stale"
    MISMATCH = "mismatch"
    UNAUTHORIZED = "unauthorized"


class Level(StrEnum):
    UNKNOWN = "unknown"
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A value above ``warning`` or ``critical`` has that level; ``words`` is what people call the figure."""

    warning: float
    critical: float
    words: str
    unit: str
    scale: float = 1.0
    signs: tuple[str, str] | None = None
    """What a value above and one below zero is, where both are possible."""

    def show(self, value: float) -> str:
        shown = f"{round(abs(value) * self.scale, 1):g} {self.unit}"
        return f"{shown} {self.signs[value < 0]}" if self.signs and shown != f"0 {self.unit}" else shown

    def level(self, value: float) -> Level:
        if abs(value) > self.critical:
            return Level.CRITICAL
        return Level.WARNING if abs(value) > self.warning else Level.OK


LATENCY_MS: Final = Threshold(100, 500, "link latency", "ms")
FAILURE_RATE: Final = Threshold(0.01, 0.10, "connection failures", "%", scale=100)
AGENT_START_S: Final = Threshold(30, 60, "agent start", "s")
DISK_PCT: Final = Threshold(80, 95, "disk usage", "%")
CLOCK_SKEW_S: Final = Threshold(30, math.inf, "clock skew", "s", signs=("ahead", "behind"))
THRESHOLDS: Final = {
    "latency_ms": LATENCY_MS,
    "failure_rate": FAILURE_RATE,
    "agent_start_s": AGENT_START_S,
    "disk_pct": DISK_PCT,
    "clock_skew_s": CLOCK_SKEW_S,
}


@dataclass(frozen=True, slots=True)
class Figure:
    value: float | None
    level: Level

    @classmethod
    def of(cls, value: float | None, threshold: Threshold) -> "Figure":
        return cls(value, Level.UNKNOWN if value is None else threshold.level(value))


REFUSALS: Final = {
    Status.MISMATCH: frozenset({
        "node_mismatch", "node_certificate_mismatch", "certificate_mismatch", "wrong_node", "wrong_name",
        "protocol_unsupported",
    }),
    Status.UNAUTHORIZED: frozenset({
        "unauthorized", "link_refused", "node_revoked", "wrong_generation", "unknown_authority", "bad_certificate",
        "certificate_expired", "certificate_not_yet_valid",
    }),
}  # fmt: skip
"""Codes and causes of failed connections that no further attempt mends: what a machine is, or may."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the hub has no link: the last failure's code and finer ``cause``, in the words that a test of it says."""

    code: str
    text: str
    at: datetime
    cause: str = ""

    @property
    def refusal(self) -> Status | None:
        """The status that it stands for by itself; None for what may pass."""
        for word in (self.cause, self.code):
            for status, words in REFUSALS.items():
                if word in words:
                    return status
        return None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known, and when it was. ``clock_skew_s`` is how far the node's clock is ahead of the hub's.

    ``decided`` is what operators decided of the node: revoked, disabled, draining or cordoned.
    """

    decided: NodeState | None = None
    heard_at: datetime | None = None
    trouble: Trouble | None = None
    latency_ms: float | None = None
    failure_rate: float | None = None
    agent_start_s: float | None = None
    disk_free: int | None = None
    disk_total: int | None = None
    clock_skew_s: float | None = None
    duplicate_at: datetime | None = None

    @property
    def present_trouble(self) -> Trouble | None:
        """Unless the node was heard since."""
        return None if self.trouble and self.heard_at and self.heard_at >= self.trouble.at else self.trouble

    @property
    def disk_pct(self) -> float | None:
        """Of the worktree root's disk, as the node last told."""
        if not self.disk_total or self.disk_free is None:
            return None
        return round(100 * (1 - min(self.disk_free, self.disk_total) / self.disk_total), 1)


@dataclass(frozen=True, slots=True)
class Health:
    """A state as of ``checked_at``, from what was heard until ``heard_at``. ``failure_rate`` is a share of 1.

    ``status`` is what the state comes to for those who know no other words: a revoked node is ``unauthorized``, a
    disabled one ``offline``, whatever is heard of them, and a cordoned one as it was heard. ``is_heard`` leaves
    decisions aside. ``summary`` is for everybody who may see the node; ``trouble`` says what went wrong on the way
    there, with addresses.
    """

    state: NodeState
    status: Status
    is_heard: bool
    summary: str
    trouble: str
    checked_at: datetime
    heard_at: datetime | None
    latency_ms: Figure
    failure_rate: Figure
    agent_start_s: Figure
    disk_pct: Figure
    clock_skew_s: Figure

    @property
    def reason(self) -> str:
        """All that is known of why, for root operators: with the addresses and names in ``trouble``."""
        return f"{self.summary} {self.trouble}".rstrip()

    @property
    def figures(self) -> dict[str, tuple[Figure, Threshold]]:
        return {name: (getattr(self, name), threshold) for name, threshold in THRESHOLDS.items()}


def closed_by(evidence: Evidence, now: datetime) -> NodeState | None:
    """Why a node takes no runs, however many places it has; None for one that takes them."""
    if evidence.decided in _DECIDED:
        return evidence.decided
    status, _ = _reach(evidence, now)
    return evidence.decided if status in {Status.ONLINE, Status.STALE} else NodeState(status.value)


def judge(evidence: Evidence, now: datetime) -> Health:
    """The node's health at ``now``, which is by the same clock as the evidence."""
    figures = {name: Figure.of(getattr(evidence, name), threshold) for name, threshold in THRESHOLDS.items()}
    complaints = [
        f"{threshold.words} {threshold.show(figures[name].value or 0)} ({figures[name].level})"
        for name, threshold in THRESHOLDS.items()
        if figures[name].level in {Level.WARNING, Level.CRITICAL}
    ]
    duplicate_at = evidence.duplicate_at
    if duplicate_at and now - duplicate_at < timedelta(seconds=DUPLICATE_SECONDS):
        quiet = _words(now - duplicate_at)
        complaints.insert(0, f"two machines use this node's certificate: another was refused {quiet} ago")
    status, summary = _reach(evidence, now)
    if status == Status.ONLINE and complaints:
        text = "; ".join(complaints)
        status, summary = Status.DEGRADED, f"{text[0].upper()}{text[1:]}."
    is_heard = status in {Status.ONLINE, Status.DEGRADED}
    state = closed_by(evidence, now) or NodeState(status.value)
    trouble = "" if is_heard or evidence.present_trouble is None else evidence.present_trouble.text
    if state in _DECIDED:
        status, summary = _DECIDED[state]
    return Health(state, status, is_heard, summary, trouble, now, evidence.heard_at, **figures)


def _reach(evidence: Evidence, now: datetime) -> tuple[Status, str]:
    """Whether the node is heard, and by whom; what was measured of it is left aside."""
    heard_at, trouble = evidence.heard_at, evidence.present_trouble
    if trouble and (refusal := trouble.refusal):
        return refusal, _TOO_FAR_APART if trouble.code == "protocol_unsupported" else _REFUSED[refusal]
    if heard_at is None:
        return Status.UNKNOWN, "It has not said hello yet."
    quiet = now - heard_at
    if -quiet > timedelta(seconds=SILENT_SECONDS):
        future = f"It was last heard {_words(-quiet)} in the future: the hub's clock went back"
        return Status.OFFLINE, f"{future}. It gets no new work until it is heard again."
    if quiet > timedelta(seconds=SILENT_SECONDS):
        return Status.OFFLINE, f"Not heard for {_words(quiet)}; it gets no new work."
    if quiet > timedelta(seconds=STALE_SECONDS):
        return Status.STALE, f"Its heartbeats are overdue: last heard {_words(quiet)} ago."
    return Status.ONLINE, "It is heard, and within its thresholds."


_REFUSED: Final = {
    Status.MISMATCH: "Another machine answers under this node's address or name.",
    Status.UNAUTHORIZED: "Hub and node do not accept each other's credentials.",
}

_DECIDED: Final = {
    NodeState.REVOKED: (Status.UNAUTHORIZED, "It was revoked, and is not let in."),
    NodeState.DISABLED: (Status.OFFLINE, "It is disabled, and gets no new work."),
}
"""What comes before all that is heard of a node."""


_TOO_FAR_APART: Final = "Hub and node are too far apart in their versions."


def _words(quiet: timedelta) -> str:
    seconds = int(quiet.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
