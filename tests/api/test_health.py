"""``/healthz``, ``/readyz``, ``/metrics``."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from agenthub_site import health
from agents.models import Agent, Run
from agents.usage.models import Budget
from nodes.models import Command, Node
from tests.api.clients import Api, refusal
from tests.factories import make_approval, make_node, make_run, node_of
from tests.usage.test_count_usage import tell

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    return Client(SERVER_NAME="localhost")


@pytest.fixture
def broken_bell() -> Iterator[None]:
    health.register("bell", lambda: "The bell hears nobody.")
    yield
    health.unregister("bell")


def test_a_live_process_says_so_without_a_query(client: Client) -> None:
    with connection.execute_wrapper(lambda *_: pytest.fail("a query")):
        told = client.get("/healthz").json()
        assert told["status"] == "ok" and told["time"].endswith("Z")


def test_a_ready_process_says_what_it_looked_at(client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "not_ready": {}, "checked": ["database", "migrations"]}


def test_what_is_not_ready_is_named(client: Client, broken_bell: None) -> None:
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["not_ready"] == {"bell": "The bell hears nobody."}


def test_a_migration_that_is_missing_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_is_migrated", False)
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM django_migrations WHERE name = (SELECT MAX(name) FROM django_migrations WHERE app = 'audit')"
        )
    assert "1 migrations" in client.get("/readyz").json()["not_ready"]["migrations"]


def test_metrics_count_what_is_under_way(client: Client, run: Run) -> None:
    make_approval(run)
    client.get("/readyz")
    text = client.get("/metrics").content.decode()
    assert 'agenthub_live_runs{state="running"} 1.0' in text
    assert "agenthub_open_approvals 1.0" in text
    assert 'agenthub_nodes{state="online"} 1.0' in text
    assert 'agenthub_http_request_seconds_count{method="GET",route="readyz",status="200"}' in text


def test_metrics_tell_each_nodes_health(client: Client, oslo: Node, lima: Node) -> None:
    make_node("cairo", is_enabled=False)
    Node.objects.filter(pk=oslo.pk).update(vitals={"disk_free": 10, "disk_total": 100})
    text = client.get("/metrics").content.decode()
    assert 'agenthub_node_health{node="oslo",status="degraded"} 1.0' in text
    assert 'agenthub_node_health{node="oslo",status="online"} 0.0' in text
    assert 'agenthub_node_health{node="lima",status="offline"} 1.0' in text
    assert 'agenthub_node_disk_pct{node="oslo"} 90.0' in text
    assert "agenthub_node_latency_ms{" not in text and "cairo" not in text


def test_metrics_have_every_figure_of_a_node(client: Client, agent: Agent) -> None:
    run = make_run(agent=agent, state="succeeded")
    Command.objects.create(node=node_of(agent), run=run.pk, kind="start_run", number=1, first_sent_at=run.created_at)
    measured = {"latency_ms": 12.5, "failure_rate": 0.02, "clock_skew_s": -3.0}
    Node.objects.update(measured=measured, vitals={"disk_free": 10, "disk_total": 100})
    text = client.get("/metrics").content.decode()
    for name, value in {
        "latency_ms": "12.5",
        "failure_rate": "0.02",
        "disk_pct": "90.0",
        "clock_skew_s": "-3.0",
    }.items():
        assert f'agenthub_node_{name}{{node="oslo"}} {value}' in text
    assert 'agenthub_node_agent_start_s{node="oslo"} ' in text


def test_metrics_take_the_same_queries_however_many_nodes(
    client: Client, oslo: Node, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(8) as few:
        client.get("/metrics")
    for number in range(5):
        make_node(f"node-{number}")
    with django_assert_max_num_queries(len(few)):
        client.get("/metrics")


def test_metrics_from_afar_are_for_root(as_alice: Api, as_root: Api) -> None:
    for api in (as_alice, Api()):
        assert refusal(api.get("/metrics", REMOTE_ADDR="10.0.0.7")) == (403, "forbidden")
        assert refusal(api.get("/metrics", headers={"X-Forwarded-For": "10.0.0.7"})) == (403, "forbidden")
    assert as_root.get("/metrics", REMOTE_ADDR="10.0.0.7").status_code == 200


def test_metrics_tell_the_months_usage_and_name_no_project(client: Client, run: Run) -> None:
    tell(run, input_tokens=5, output_tokens=2, total_tokens=7, cost=0.5, currency="USD")
    Budget.objects.create(project=run.project, unit="tokens", amount=1, period="day", created_by="root")
    text = client.get("/metrics").content.decode()
    assert 'agenthub_usage_tokens{direction="input"} 5.0' in text
    assert 'agenthub_usage_cost{currency="USD"} 0.5' in text
    assert 'agenthub_budgets{state="within"} 1.0' in text and "harbour" not in text
