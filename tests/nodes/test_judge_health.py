"""Health from evidence: every status, every threshold, and nothing invented."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.models import Agent
from agents.states import State
from nodes.contract.ids import new_id
from nodes.evidence import health_of
from nodes.health import Evidence, Level, Status, Trouble, judge
from nodes.models import Command, Node
from tests.factories import make_agent, make_node, make_run, node_of

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


def heard(seconds: float = 1, **known: Any) -> Evidence:
    return Evidence(heard_at=NOW - timedelta(seconds=seconds), **known)


def trouble(code: str, cause: str = "", seconds: float = 0) -> Trouble:
    return Trouble(code, "Nothing answers at oslo:1.", NOW - timedelta(seconds=seconds), cause)


@pytest.mark.parametrize(
    ("evidence", "status", "words"),
    [
        (Evidence(), "unknown", "not said hello"),
        (heard(), "online", "is heard"),
        (heard(12), "online", "is heard"),
        (heard(13), "stale", "last heard 13 s ago"),
        (heard(15), "stale", "overdue"),
        (heard(16), "offline", "Not heard for 16 s"),
        (heard(3 * 86_400), "offline", "Not heard for 3 d"),
        (heard(-15), "online", "is heard"),
        (heard(-16), "offline", "last heard 16 s in the future: the hub's clock went back"),
        (heard(latency_ms=501), "degraded", "Link latency 501 ms (critical)."),
        (heard(failure_rate=0.02), "degraded", "Connection failures 2 % (warning)."),
        (heard(16, latency_ms=501), "offline", "Not heard"),
        (heard(clock_skew_s=31), "degraded", "Clock skew 31 s ahead (warning)."),
        (heard(clock_skew_s=-4000), "degraded", "Clock skew 4000 s behind (warning)."),
        (heard(clock_skew_s=-30), "online", "is heard"),
        (heard(5, trouble=trouble("node_mismatch")), "mismatch", "Another machine answers"),
        (heard(5, trouble=trouble("link_refused")), "unauthorized", "each other's credentials."),
        (Evidence(trouble=trouble("node_revoked")), "unauthorized", "each other's credentials."),
        (Evidence(trouble=trouble("node_unreachable")), "unknown", "not said hello yet. Nothing answers at oslo:1."),
        (heard(20, trouble=trouble("link_silent")), "offline", "no new work. Nothing answers at oslo:1."),
        (heard(5, trouble=trouble("link_silent")), "online", "thresholds."),
        (heard(1, trouble=trouble("node_mismatch", seconds=9)), "online", "is heard"),
    ],
)
def test_each_status_follows_from_what_is_known(evidence: Evidence, status: str, words: str) -> None:
    health = judge(evidence, NOW)
    assert health.status == status and words in health.reason
    assert (health.checked_at, health.heard_at) == (NOW, evidence.heard_at)


@pytest.mark.parametrize(
    ("figure", "ok", "warning", "critical"),
    [
        ("latency_ms", 100, 100.1, 500.1),
        ("failure_rate", 0.01, 0.011, 0.101),
        ("agent_start_s", 30, 31, 61),
    ],
)
def test_each_figure_has_its_thresholds(figure: str, ok: float, warning: float, critical: float) -> None:
    for value, level in ((ok, "ok"), (warning, "warning"), (critical, "critical")):
        health = judge(heard(**{figure: value}), NOW)
        assert (getattr(health, figure).value, getattr(health, figure).level) == (value, level)
        assert health.status == ("online" if level == "ok" else "degraded")


@pytest.mark.parametrize(
    ("code", "cause", "status"),
    [
        ("node_certificate_mismatch", "", "mismatch"),
        ("node_certificate_mismatch", "wrong_node", "mismatch"),
        ("node_certificate_mismatch", "wrong_name", "mismatch"),
        ("node_certificate_mismatch", "wrong_generation", "unauthorized"),
        ("node_certificate_mismatch", "unknown_authority", "unauthorized"),
        ("node_certificate_mismatch", "certificate_expired", "unauthorized"),
        ("node_certificate_mismatch", "of tomorrow", "mismatch"),
        ("link_refused", "unauthorized", "unauthorized"),
        ("node_unreachable", "connection_refused", None),
        ("link_closed", "", None),
    ],
)
def test_what_no_further_attempt_mends_is_a_status(code: str, cause: str, status: Status | None) -> None:
    assert trouble(code, cause).refusal == status


@pytest.mark.parametrize(("free", "level"), [(20, "ok"), (19, "warning"), (5, "warning"), (4, "critical")])
def test_a_disk_is_judged_by_what_is_used_of_it(free: int, level: str) -> None:
    disk = judge(heard(disk_free=free, disk_total=100), NOW).disk_pct
    assert (disk.value, disk.level) == (100 - free, level)


def test_a_disk_that_is_freer_than_it_is_large_is_empty() -> None:
    assert judge(heard(disk_free=200, disk_total=100), NOW).disk_pct.value == 0


def test_addresses_are_in_the_reason_and_not_in_the_summary() -> None:
    health = judge(heard(60, trouble=trouble("node_unreachable")), NOW)
    assert "oslo:1" in health.reason and "oslo:1" not in health.summary


def test_what_is_not_measured_has_no_value() -> None:
    health = judge(heard(disk_free=0, disk_total=0), NOW)
    assert {(figure.value, figure.level) for figure, _ in health.figures.values()} == {(None, Level.UNKNOWN)}


def started(agent: Agent, seconds: float) -> None:
    """A run whose agent was there so long after the node was told.

    It had waited a day to be placed, and six hours for the link.
    """
    now = timezone.now()
    run = make_run(agent=agent, state=State.SUCCEEDED, started_at=now)
    sent_at = now - timedelta(seconds=seconds)
    Command.objects.create(node=node_of(agent), run=run.pk, kind="start_run", number=1, first_sent_at=sent_at)
    Command.objects.filter(run=run.pk).update(created_at=sent_at - timedelta(hours=6))
    agent.runs.filter(pk=run.pk).update(created_at=now - timedelta(days=1))


def test_agent_start_is_the_median_of_recent_runs(agent: Agent) -> None:
    for seconds in (1, 40, 900):
        started(agent, seconds)
    health = health_of([node_of(agent)], timezone.now())[node_of(agent).pk]
    assert (health.agent_start_s.value, health.agent_start_s.level) == (40, "warning")
    later = health_of([node_of(agent)], timezone.now() + timedelta(hours=2))
    assert later[node_of(agent).pk].agent_start_s.value is None


def test_runs_that_were_never_sent_tell_nothing(agent: Agent) -> None:
    make_run(agent=agent)
    Command.objects.create(node=node_of(agent), run=new_id(), kind="start_run")
    assert health_of([node_of(agent)], timezone.now())[node_of(agent).pk].agent_start_s.value is None


def test_any_number_of_nodes_takes_one_query(agent: Agent, django_assert_num_queries: Any) -> None:
    others = [make_agent(f"agent-{number}", node=make_node(f"node-{number}")) for number in range(4)]
    for one in others:
        started(one, 2)
    nodes = list(Node.objects.all())
    with django_assert_num_queries(1):
        found = health_of(nodes, timezone.now())
    assert [found[node_of(one).pk].agent_start_s.value for one in others] == [2, 2, 2, 2]


def test_the_disk_is_what_the_node_told(db: None) -> None:
    node = make_node(vitals={"disk_free": 3, "disk_total": 100, "load": 0.1})
    assert health_of([node], timezone.now())[node.pk].disk_pct.value == 97
