"""Gathers what ``health.judge`` goes by, for any number of nodes in one query beside their own rows."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from statistics import median
from typing import Final
from uuid import UUID

from django.db.models import OuterRef, Subquery

from nodes.contract.commands import StartRun
from nodes.contract.ids import first_id

from .health import Evidence, Health, NodeState, Trouble, closed_by, judge
from .models import Command, Node

RECENT: Final = timedelta(hours=1)
"""Starts of runs that were made this long ago tell of the node's speed."""
_MOST_STARTS: Final = 2_000
_STARTS_OF_A_NODE: Final = 20


def health_of(nodes: Iterable[Node], now: datetime) -> dict[UUID, Health]:
    """The health of each, by id."""
    known = {node.pk: node for node in nodes}
    starts = _start_seconds(known, now) if known else {}
    return {pk: judge(_evidence(node, starts.get(pk)), now) for pk, node in known.items()}


def why_closed(node: Node, now: datetime) -> NodeState | None:
    """Why it takes no runs, by its own row; None for one that takes them."""
    return closed_by(_evidence(node), now)


def _evidence(node: Node, agent_start_s: float | None = None) -> Evidence:
    measured = node.measured
    return Evidence(
        decided=node.decided,
        heard_at=node.last_heard_at,
        trouble=_trouble(measured.get("trouble")),
        latency_ms=measured.get("latency_ms"),
        failure_rate=measured.get("failure_rate"),
        agent_start_s=agent_start_s,
        disk_free=node.vitals.get("disk_free"),
        disk_total=node.vitals.get("disk_total"),
        clock_skew_s=measured.get("clock_skew_s"),
        duplicate_at=node.duplicate_at,
    )


def _trouble(written: dict[str, str] | None) -> Trouble | None:
    return Trouble(**{**written, "at": datetime.fromisoformat(written["at"])}) if written else None  # type: ignore[arg-type]


def _start_seconds(nodes: Iterable[UUID], now: datetime) -> dict[UUID, float]:
    """Median seconds from sending the command to start a run to the agent's start, over each node's last few.

    The time that a run was queued at the hub is not the node's, nor is the time that the link was down.
    """
    asked_at = Command.objects.filter(run=OuterRef("runs__pk"), kind=StartRun.KIND).values("first_sent_at")[:1]
    found = (
        Node.objects.filter(pk__in=list(nodes), runs__pk__gte=first_id(now - RECENT), runs__started_at__isnull=False)
        .annotate(asked_at=Subquery(asked_at))
        .order_by("-runs__pk")
        .values_list("pk", "asked_at", "runs__started_at")
    )
    seconds: dict[UUID, list[float]] = defaultdict(list)
    for pk, asked, started in found[:_MOST_STARTS]:
        if asked is not None and len(seconds[pk]) < _STARTS_OF_A_NODE:
            seconds[pk].append(max(0.0, (started - asked).total_seconds()))
    return {pk: round(median(values), 2) for pk, values in seconds.items() if values}
