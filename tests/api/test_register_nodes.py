"""``/api/admin/agent-nodes``: the documented curl lines as they stand, who may, and what is refused."""

import json
import shlex
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.conf import settings
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agents.models import Agent
from agents.services.agents import archive_agent
from agents.states import State
from audit.models import AuditEvent
from nodes import pki
from nodes.contract.config import Config, ServerConfig
from nodes.leases import take_lease
from nodes.models import Node
from nodes.services import register_node
from tests.api.clients import Api, refusal
from tests.factories import make_node, make_run

NODES = "/api/admin/agent-nodes"
GPU = """curl -X POST http://hub.example.com:8080/api/admin/agent-nodes \\
-H "Authorization: Bearer $TOKEN" \\
-H "Content-Type: application/json" \\
-d '{
"id": "gpu-01",
"name": "GPU Server 01",
"grpc_target": "https://gpu01.internal:50051",
"tls_server_name": "gpu01.internal",
"default_worktree_root": "/data/agenthub/worktrees"
}'"""
REGISTER = """curl -X POST http://localhost:8080/api/admin/agent-nodes \\
-H "Authorization: Bearer $TOKEN" \\
-H "Content-Type: application/json" \\
-d '{
"id": "node-01",
"name": "Production Node 01",
"grpc_target": "https://node01.prod.internal:50051",
"tls_server_name": "node01.prod.internal",
"default_worktree_root": "/data/agenthub/worktrees"
}'"""
LIST = """curl http://localhost:8080/api/admin/agent-nodes \\
-H "Authorization: Bearer $TOKEN\""""
UPDATE = """curl -X PUT http://localhost:8080/api/admin/agent-nodes/node-01 \\
-H "Authorization: Bearer $TOKEN" \\
-H "Content-Type: application/json" \\
-d '{
"name": "Updated Name",
"default_worktree_root": "/new/path"
}'"""
DELETE = """curl -X DELETE http://localhost:8080/api/admin/agent-nodes/node-01 \\
-H "Authorization: Bearer $TOKEN\""""
HEALTH = """curl http://main-hub:8080/api/admin/agent-nodes/node-01/health \\
-H "Authorization: Bearer $TOKEN\""""


def curl(api: Api, line: str, *, says_host: bool = False) -> Any:
    """What the line would be answered, with the client's token for ``$TOKEN``; with the host of its URL, if asked."""
    words = shlex.split(line.replace("\\\n", " "))
    method, body, url = "GET", None, ""
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-d":
            body = json.loads(words.pop(0))
        elif word == "-H":
            assert words.pop(0) in {"Authorization: Bearer $TOKEN", "Content-Type: application/json"}
        else:
            url = word
    headers = {"Host": urlsplit(url).netloc} if says_host else {}
    return getattr(api, method.lower())(urlsplit(url).path, body, headers=headers)


@pytest.fixture
def node(as_root: Api) -> dict[str, Any]:
    """The documented node, as its registration is answered."""
    response = curl(as_root, REGISTER)
    assert response.status_code == 201
    answer: dict[str, Any] = response.json()
    return answer


def test_the_gpu_server_is_registered(as_root: Api) -> None:
    response = curl(as_root, GPU)
    assert response.status_code == 201
    assert response.json()["id"] == "gpu-01"


@pytest.mark.parametrize("line", [LIST, GPU, HEALTH], ids=["localhost", "public_url", "this machine"])
def test_a_hub_that_listens_everywhere_answers_to_the_hosts_of_the_documented_lines(
    as_root: Api, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    make_node("node-01")
    monkeypatch.setattr("socket.getfqdn", lambda: "main-hub")
    server = ServerConfig(listen="0.0.0.0:8080", public_url="http://hub.example.com:8080")
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", Config(server=server).allowed_hosts)
    assert curl(as_root, line, says_host=True).status_code in {200, 201}


def test_another_host_is_refused_with_the_setting_that_admits_it(as_root: Api) -> None:
    response = curl(as_root, GPU, says_host=True)
    assert refusal(response) == (400, "wrong_host")
    error = response.json()["error"]
    assert "public_url" in error["message"] and error["data"] == {"host": "hub.example.com:8080"}


def test_a_node_is_registered_with_what_was_given(node: dict[str, Any]) -> None:
    given = {
        "id": "node-01", "name": "Production Node 01", "grpc_target": "https://node01.prod.internal:50051",
        "tls_server_name": "node01.prod.internal", "default_worktree_root": "/data/agenthub/worktrees",
    }  # fmt: skip
    assert given.items() <= node.items()
    ours = {"direction": "dial", "labels": {}, "pool": "", "is_enabled": True, "is_cordoned": False, "live_runs": 0}
    assert ours.items() <= node.items() and node["health"] == "unknown"


def test_nodes_are_listed(as_root: Api, node: dict[str, Any]) -> None:
    curl(as_root, GPU)
    answer = curl(as_root, LIST).json()
    assert set(answer) == {"results", "next", "previous"}
    assert [row["id"] for row in answer["results"]] == ["gpu-01", "node-01"]
    assert answer["results"][1] == node


def test_a_put_keeps_what_is_left_out(as_root: Api, node: dict[str, Any]) -> None:
    answer = curl(as_root, UPDATE)
    assert answer.status_code == 200
    assert answer.json() == node | {"name": "Updated Name", "default_worktree_root": "/new/path"}


def test_a_node_is_deleted(as_root: Api, node: dict[str, Any]) -> None:
    assert curl(as_root, DELETE).status_code == 204
    assert refusal(curl(as_root, DELETE)) == (404, "not_found")
    assert curl(as_root, LIST).json()["results"] == []
    assert list(AuditEvent.objects.values_list("name", flat=True)) == ["node.registered", "node.deleted"]


def test_health_of_a_new_node_invents_nothing(as_root: Api, node: dict[str, Any]) -> None:
    health = curl(as_root, HEALTH).json()
    assert health.pop("checked_at").endswith("Z")
    unmeasured = {"value": None, "level": "unknown"}
    assert health == {
        "state": "unknown", "status": "unknown", "reason": "It has not said hello yet.", "heard_at": None,
        "latency_ms": unmeasured, "failure_rate": unmeasured, "agent_start_s": unmeasured, "disk_pct": unmeasured,
        "clock_skew_s": unmeasured,
    }  # fmt: skip


def test_health_tells_what_was_heard(as_root: Api) -> None:
    make_node("node-01", vitals={"disk_free": 10, "disk_total": 100})
    health = curl(as_root, HEALTH).json()
    assert health["disk_pct"] == {"value": 90, "level": "warning"}
    assert (health["status"], health["reason"]) == ("degraded", "Disk usage 90 % (warning).")


def test_health_tells_what_was_measured_and_what_went_wrong_last(as_root: Api) -> None:
    said = {"code": "node_unreachable", "cause": "", "text": "Nothing answers at node01:1."}
    trouble = {**said, "at": timezone.now().isoformat()}
    measured = {"latency_ms": 512.5, "failure_rate": 0.05, "clock_skew_s": -2.5, "trouble": trouble}
    make_node("node-01", measured=measured, heard=timezone.now() - timedelta(hours=3))
    health = curl(as_root, HEALTH).json()
    assert (health["latency_ms"], health["failure_rate"], health["clock_skew_s"]) == (
        {"value": 512.5, "level": "critical"}, {"value": 0.05, "level": "warning"}, {"value": -2.5, "level": "ok"},
    )  # fmt: skip
    assert health["reason"] == "Not heard for 3 h; it gets no new work. Nothing answers at node01:1."


def test_a_connection_is_tested_in_the_words_of_the_health(as_root: Api) -> None:
    pki.ensure_pki(settings.CONFIG.pki_dir, uuid4())
    make_node("gpu-01", grpc_target="https://127.0.0.1:9", is_joined=True)
    tried = as_root.post(f"{NODES}/gpu-01/test-connection").json()
    assert (tried["is_reached"], tried["code"], tried["milliseconds"]) == (False, "node_unreachable", None)
    assert tried["message"].startswith("failed to connect to remote node: nothing answers at 127.0.0.1:9")
    assert AuditEvent.objects.filter(name="node.tested", data__code="node_unreachable").count() == 1


def test_the_link_of_a_node_that_dials_is_looked_at(as_root: Api) -> None:
    node = make_node("edge", direction="tunnel")
    url = f"{NODES}/edge/test-connection"
    assert as_root.post(url).json()["code"] == "no_link"
    take_lease(node.pk, "hub-a")
    assert as_root.post(url).json()["is_reached"]
    Node.objects.update(last_heard_at=timezone.now() - timedelta(minutes=1))
    assert as_root.post(url).json()["code"] == "link_silent"


def test_a_silent_node_is_offline(as_root: Api) -> None:
    make_node("node-01", heard=timezone.now() - timedelta(hours=3))
    assert curl(as_root, HEALTH).json()["status"] == "offline"


def test_one_node_is_read_and_patched(as_root: Api, node: dict[str, Any]) -> None:
    url = f"{NODES}/node-01"
    assert as_root.get(url).json() == node
    changes = {"labels": {"gpu": "h100"}, "pool": "gpu", "capacity": 4, "is_enabled": False}
    assert as_root.patch(url, changes).json() == node | changes | {"state": "disabled", "health": "offline"}


@pytest.mark.parametrize("method", ["put", "patch"])
def test_what_was_read_can_be_sent_back_whole(as_root: Api, node: dict[str, Any], method: str) -> None:
    read = as_root.get(f"{NODES}/node-01").json()
    told = {"uuid": str(uuid4()), "state": "online", "live_runs": 7, "projects": ["harbour"], "is_joined": True}
    assert getattr(as_root, method)(f"{NODES}/node-01", read | told).json() == read
    assert not AuditEvent.objects.filter(name="node.edited").exists()
    assert as_root.put(f"{NODES}/node-01", read | {"name": "Other"}).json() == read | {"name": "Other"}


def test_a_field_that_does_not_exist_is_refused_beside_what_was_read(as_root: Api, node: dict[str, Any]) -> None:
    assert refusal(as_root.put(f"{NODES}/node-01", node | {"grpc_taget": "x"})) == (400, "invalid")
    assert refusal(as_root.post(NODES, node | {"id": "node-02"})) == (400, "invalid")


def test_a_node_may_dial_in_and_then_has_no_target(as_root: Api) -> None:
    node = as_root.post(NODES, {"id": "edge", "name": "Edge", "direction": "tunnel", "grpc_target": None})
    assert (node.status_code, node.json()["grpc_target"]) == (201, None)


@pytest.mark.parametrize(
    ("changes", "closed"),
    [
        ({"is_cordoned": True}, (True, False)),
        ({"is_draining": True}, (True, True)),
        ({"is_draining": True, "is_cordoned": True}, (True, True)),
        ({"is_draining": False}, (False, False)),
        ({"name": "Other"}, (False, False)),
    ],
    ids=str,
)
def test_a_node_is_closed(
    as_root: Api, node: dict[str, Any], changes: dict[str, Any], closed: tuple[bool, bool]
) -> None:
    answer = as_root.patch(f"{NODES}/node-01", changes).json()
    assert (answer["is_cordoned"], answer["is_draining"]) == closed


@pytest.mark.parametrize(
    ("changes", "closed"),
    [
        ({"is_cordoned": False}, (False, False)),
        ({"is_cordoned": True}, (True, True)),
        ({"is_draining": False}, (True, False)),
        ({"name": "Other"}, (True, True)),
    ],
    ids=str,
)
def test_a_draining_node_is_opened(
    as_root: Api, node: dict[str, Any], changes: dict[str, Any], closed: tuple[bool, bool]
) -> None:
    as_root.patch(f"{NODES}/node-01", {"is_draining": True})
    answer = as_root.patch(f"{NODES}/node-01", changes).json()
    assert (answer["is_cordoned"], answer["is_draining"]) == closed


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "local"}, "id"), ({"id": "main"}, "id"), ({"id": "a b"}, "id"), ({"id": ""}, "id"),
        ({"grpc_target": None}, "grpc_target"), ({"grpc_target": "http://node1:1"}, "grpc_target"),
        ({"direction": "tunnel"}, "grpc_target"), ({"direction": "up"}, "direction"), ({"name": ""}, "name"),
        ({"secret": "x"}, "secret"), ({"labels": {"a": ["b"]}}, "labels"), ({"capacity": -1}, "capacity"),
        ({"is_draining": True, "is_cordoned": False}, "is_cordoned"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_named(as_root: Api, changes: dict[str, Any], field: str) -> None:
    body = {"id": "node-01", "name": "Node", "grpc_target": "https://node1:50051"}
    response = as_root.post(NODES, body | changes)
    assert refusal(response) == (400, "invalid")
    assert set(response.json()["error"]["data"]["fields"]) == {field}
    assert not Node.objects.exists()


def test_an_id_is_registered_once_and_stays(as_root: Api, node: dict[str, Any]) -> None:
    assert refusal(curl(as_root, REGISTER)) == (409, "node_exists")
    assert refusal(as_root.patch(f"{NODES}/node-01", {"id": "node-02"})) == (400, "invalid")


def test_a_node_with_agents_is_not_deleted_and_names_them(as_root: Api, agent: Agent) -> None:
    response = as_root.delete(f"{NODES}/oslo")
    assert refusal(response) == (409, "node_in_use")
    agents = [{"id": str(agent.pk), "name": "demo", "project": "harbour"}]
    assert response.json()["error"]["data"] == {"agents": agents}
    make_run(agent=agent, state=State.SUCCEEDED)
    archive_agent(agent, by=SYSTEM)
    assert as_root.delete(f"{NODES}/oslo").status_code == 204
    assert refusal(as_root.get(f"{NODES}/oslo")) == (404, "not_found")


ANY = [
    ("get", NODES), ("post", NODES), ("get", f"{NODES}/oslo"), ("put", f"{NODES}/oslo"), ("patch", f"{NODES}/oslo"),
    ("delete", f"{NODES}/oslo"), ("get", f"{NODES}/oslo/health"), ("post", f"{NODES}/oslo/test-connection"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "url"), ANY)
def test_the_registry_is_roots_alone(as_alice: Api, as_nobody: Api, agent: Agent, method: str, url: str) -> None:
    assert refusal(getattr(as_alice, method)(url, {"name": "Mine"})) == (403, "forbidden")
    assert refusal(getattr(as_nobody, method)(url, {"name": "Mine"})) == (401, "unauthenticated")


@pytest.mark.parametrize(("method", "url"), ANY[2:])
def test_a_node_that_is_not_there_is_not_found(as_root: Api, method: str, url: str) -> None:
    assert refusal(getattr(as_root, method)(url, {"name": "Mine"})) == (404, "not_found")


def test_a_list_takes_the_same_queries_however_long(as_root: Api, django_assert_max_num_queries: Any) -> None:
    for number in range(5):
        register_node(by=SYSTEM, slug=f"node-{number}", name="N", direction="tunnel")
    for url in (NODES, "/api/v1/nodes/"):
        with django_assert_max_num_queries(8) as few:
            assert len(as_root.get(url).json()["results"]) == 5
        for number in range(5):
            register_node(by=SYSTEM, slug=f"{url}-{number}".replace("/", "-"), name="N", direction="tunnel")
        with django_assert_max_num_queries(len(few)):
            as_root.get(url)
        Node.objects.filter(slug__startswith="-").delete()


def test_a_repeat_with_a_key_registers_once(as_root: Api) -> None:
    body = {"id": "edge", "name": "Edge", "direction": "tunnel"}
    answers = [as_root.post(NODES, body, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201] and Node.objects.count() == 1


def test_bootstrap_says_how_this_hub_dials_and_no_secret(as_root: Api, as_alice: Api) -> None:
    url = "/api/admin/agent-nodes/bootstrap"
    answer = as_root.get(url).json()
    assert answer == {
        "enabled": False, "grpc_listen_addr": "127.0.0.1:50051", "security_mode": "tls",
        "cert_dir": str(settings.CONFIG.home / "internal-grpc"), "issuer": "agenthub", "audience": "agenthub-internal",
        "token_command": "agenthub node bootstrap-token",
    }  # fmt: skip
    assert refusal(as_alice.get(url)) == (403, "forbidden")


def test_no_node_is_called_bootstrap(as_root: Api) -> None:
    answer = as_root.post("/api/admin/agent-nodes", {"id": "bootstrap", "name": "x", "grpc_target": "https://a:1"})
    assert refusal(answer) == (400, "invalid")
