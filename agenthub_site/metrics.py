"""What ``/metrics`` tells: few numbers of our own, those of rows counted when asked."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Final
from uuid import UUID

from django.db.models import Count
from django.utils import timezone
from django_q.models import OrmQ
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from agents.models import Approval, Run
from agents.queries import in_states
from agents.states import LIVE
from agents.usage.models import Budget, DayUsage
from agents.usage.queries import Spent, sum_up
from nodes.evidence import health_of
from nodes.health import Health, Status
from nodes.models import Node
from nodes.queries import registered_nodes

REGISTRY: Final = CollectorRegistry()
REQUEST_SECONDS: Final = Histogram(
    "agenthub_http_request_seconds",
    "Requests by method, route and status.",
    ["method", "route", "status"],
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=REGISTRY,
)

_HEARD: Final = {Status.ONLINE, Status.DEGRADED, Status.STALE}


class Rows(Collector):
    """Runs, approvals and nodes as they are in the database at this moment."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        runs = GaugeMetricFamily("agenthub_live_runs", "Runs that have not ended, by state.", labels=["state"])
        live = in_states(Run.objects.order_by(), LIVE).values_list("state")
        counted = dict(live.annotate(number=Count("pk")))
        for state in sorted(LIVE):
            runs.add_metric([state], counted.get(state, 0))
        yield runs
        pending = Approval.objects.filter(state=Approval.State.PENDING).count()
        yield GaugeMetricFamily("agenthub_open_approvals", "Approvals that wait for an answer.", pending)
        nodes = GaugeMetricFamily("agenthub_nodes", "Enabled nodes, by whether they are heard.", labels=["state"])
        now = timezone.now()
        enabled = list(registered_nodes().filter(is_enabled=True))
        known = health_of(enabled, now)
        heard = sum(known[node.pk].status in _HEARD for node in enabled)
        nodes.add_metric(["online"], heard)
        nodes.add_metric(["silent"], len(enabled) - heard)
        yield nodes
        yield GaugeMetricFamily(
            "agenthub_task_queue_seconds", "How long the oldest task that calls outside has waited.", _oldest_task(now)
        )
        yield from _usage(now)
        yield from _health(enabled, known)


def _oldest_task(now: datetime) -> float:
    """``lock`` is when a task may begin; a worker that takes one moves it ahead."""
    due = OrmQ.objects.filter(lock__lte=now).order_by("lock").values_list("lock", flat=True).first()
    return (now - due).total_seconds() if due else 0.0


def _usage(now: datetime) -> Iterator[GaugeMetricFamily]:
    """Of the whole hub since the month (UTC) began. No names: whoever reads this has not said who they are."""
    tokens = GaugeMetricFamily("agenthub_usage_tokens", "Tokens used this month (UTC).", labels=["direction"])
    cost = GaugeMetricFamily(
        "agenthub_usage_cost", "Cost this month (UTC), with what is estimated.", labels=["currency"]
    )
    first = now.astimezone(UTC).date().replace(day=1)
    spent = next(iter(sum_up(DayUsage.objects.filter(day__gte=first))), Spent())
    tokens.add_metric(["input"], spent.input_tokens)
    tokens.add_metric(["output"], spent.output_tokens)
    for currency, micros in spent.cost.items():
        cost.add_metric([currency], micros / 1e6)
    yield from (tokens, cost)
    yield GaugeMetricFamily(
        "agenthub_usage_unpriced_tokens", "Tokens of this month of which nobody says the cost.", spent.unpriced_tokens
    )
    budgets = GaugeMetricFamily("agenthub_budgets", "Budgets, by how they were found last.", labels=["state"])
    held = Counter(standing(*row, now) for row in Budget.objects.values_list("period", "warned_for", "exceeded_for"))
    for state in ("within", "warned", "exceeded"):
        budgets.add_metric([state], held[state])
    yield budgets


def standing(period: str, warned: date | None, exceeded: date | None, now: datetime) -> str:
    """Of a budget, by when it was last said to near its end, or to be spent: in this period or not."""
    today = now.astimezone(UTC).date()
    since = today if period == Budget.Period.DAY else today.replace(day=1)
    return "exceeded" if exceeded == since else "warned" if warned == since else "within"


def _health(enabled: list[Node], found: Mapping[UUID, Health]) -> Iterator[GaugeMetricFamily]:
    """Of each enabled node, by its id in the registry. A figure that nobody has measured has no sample."""
    states = GaugeMetricFamily(
        "agenthub_node_health", "1 for the status that a node has, 0 for the others.", labels=["node", "status"]
    )
    for node in enabled:
        for status in Status:
            states.add_metric([node.slug, status.value], float(found[node.pk].status == status))
    yield states
    for name, help_text in _FIGURES.items():
        gauge = GaugeMetricFamily(f"agenthub_node_{name}", help_text, labels=["node"])
        for node in enabled:
            value = found[node.pk].figures[name][0].value
            if value is not None:
                gauge.add_metric([node.slug], value)
        yield gauge


_FIGURES: Final = {
    "latency_ms": "The link's latency in milliseconds.",
    "failure_rate": "Attempts to connect that failed, as a share of 1.",
    "agent_start_s": "Median seconds from the command to an agent's start, over the node's recent runs.",
    "disk_pct": "How much of the worktree root's disk is used, in percent.",
    "clock_skew_s": "How far the node's clock is ahead of the hub's, in seconds.",
}


REGISTRY.register(Rows())
