"""How a node is: a pure function from what is known of it, and when, to a status, levels and words.

What nobody has measured has no value and the level ``unknown``; it never counts against a node.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from nodes.contract.limits import HEARTBEAT_SECONDS, SILENT_SECONDS

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

    def show(self, value: float) -> str:
        return f"{round(value * self.scale, 1):g} {self.unit}"


LATENCY_MS: Final = Threshold(100, 500, "link latency", "ms")
FAILURE_RATE: Final = Threshold(0.01, 0.10, "connection failures", "%", scale=100)
AGENT_START_S: Final = Threshold(30, 60, "agent start", "s")
DISK_PCT: Final = Threshold(80, 95, "disk usage", "%")


@dataclass(frozen=True, slots=True)
class Figure:
    value: float | None
    level: Level

    @classmethod
    def of(cls, value: float | None, threshold: Threshold) -> "Figure":
        if value is None:
            return cls(None, Level.UNKNOWN)
        if value > threshold.critical:
            return cls(value, Level.CRITICAL)
        return cls(value, Level.WARNING if value > threshold.warning else Level.OK)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known. ``refusal`` is why the last attempt to connect was refused for good, at ``refused_at``."""

    heard_at: datetime | None = None
    refusal: Status | None = None
    refused_at: datetime | None = None
    latency_ms: float | None = None
    failure_rate: float | None = None
    agent_start_s: float | None = None
    disk_free: int | None = None
    disk_total: int | None = None

    @property
    def disk_pct(self) -> float | None:
        """Of the worktree root's disk, as the node last told."""
        if not self.disk_total or self.disk_free is None:
            return None
        return round(100 * (1 - self.disk_free / self.disk_total), 1)


@dataclass(frozen=True, slots=True)
class Health:
    """A status as of ``checked_at``, from what was heard until ``heard_at``. ``failure_rate`` is a share of 1."""

    status: Status
    reason: str
    checked_at: datetime
    heard_at: datetime | None
    latency_ms: Figure
    failure_rate: Figure
    agent_start_s: Figure
    disk_pct: Figure

    @property
    def figures(self) -> dict[str, tuple[Figure, Threshold]]:
        return {
            "latency_ms": (self.latency_ms, LATENCY_MS),
            "failure_rate": (self.failure_rate, FAILURE_RATE),
            "agent_start_s": (self.agent_start_s, AGENT_START_S),
            "disk_pct": (self.disk_pct, DISK_PCT),
        }


def judge(evidence: Evidence, now: datetime) -> Health:
    """The node's health at ``now``, which is by the same clock as the evidence."""
    figures = {
        "latency_ms": Figure.of(evidence.latency_ms, LATENCY_MS),
        "failure_rate": Figure.of(evidence.failure_rate, FAILURE_RATE),
        "agent_start_s": Figure.of(evidence.agent_start_s, AGENT_START_S),
        "disk_pct": Figure.of(evidence.disk_pct, DISK_PCT),
    }
    thresholds = (LATENCY_MS, FAILURE_RATE, AGENT_START_S, DISK_PCT)
    complaints = [
        f"{threshold.words} {threshold.show(figure.value)} ({figure.level})"
        for figure, threshold in zip(figures.values(), thresholds, strict=True)
        if figure.value is not None and figure.level in {Level.WARNING, Level.CRITICAL}
    ]
    status, reason = _status(evidence, now, complaints)
    return Health(status, reason, now, evidence.heard_at, **figures)


def _status(evidence: Evidence, now: datetime, complaints: list[str]) -> tuple[Status, str]:
    heard_at, refused_at = evidence.heard_at, evidence.refused_at
    if evidence.refusal and refused_at and (heard_at is None or heard_at < refused_at):
        return evidence.refusal, _REFUSALS[evidence.refusal]
    if heard_at is None:
        return Status.UNKNOWN, "It has not said hello yet."
    quiet = now - heard_at
    if quiet > timedelta(seconds=SILENT_SECONDS):
        return Status.OFFLINE, f"Not heard for {_words(quiet)}; it gets no new work."
    if quiet > timedelta(seconds=STALE_SECONDS):
        return Status.STALE, f"Its heartbeats are overdue: last heard {_words(quiet)} ago."
    if complaints:
        text = "; ".join(complaints)
        return Status.DEGRADED, f"{text[0].upper()}{text[1:]}."
    return Status.ONLINE, "It is heard, and within its thresholds."


_REFUSALS: Final = {
    Status.MISMATCH: "Another machine answers under this node's address or name.",
    Status.UNAUTHORIZED: "unauthorized: hub and node do not accept each other's credentials.",
}


def _words(quiet: timedelta) -> str:
    seconds = int(quiet.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
