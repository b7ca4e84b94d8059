"""The policy by REST."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from agenthub_site.accounts.models import User
from agents.models import Agent, Run
from tests.agents.test_always_allow import TEST, asked
from tests.factories import make_agent, make_token

RULES = "/api/v1/policy/rules/"
REVIEWS = "/api/v1/policy/reviews/"


@pytest.fixture
def as_alice(alice: User, agent: Agent) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(alice)}")
    return client


def test_rules_are_added_moved_changed_and_removed(as_alice: APIClient, agent: Agent) -> None:
    first = as_alice.post(RULES, {"project": "harbour", "verdict": "deny", "kind": "publish"}, format="json").json()
    second = as_alice.post(
        RULES, {"agent": "demo", "verdict": "ask", "command": "make*", "is_strict": True}, format="json"
    ).json()
    assert (first["level"], second["level"], second["agent_name"], first["author"]["label"]) == (
        "project", "agent", "demo", "alice",
    )  # fmt: skip
    changed = as_alice.patch(f"{RULES}{second['id']}/", {"is_enabled": False, "note": "Later."}, format="json").json()
    assert (changed["is_enabled"], changed["note"]) == (False, "Later.")
    third = as_alice.post(RULES, {"project": "harbour", "verdict": "allow", "kind": "read"}, format="json").json()
    as_alice.post(f"{RULES}{third['id']}/move/", {"position": 0}, format="json")
    held = as_alice.get(RULES, {"level": "project"}).json()["results"]
    assert [rule["id"] for rule in sorted(held, key=lambda rule: rule["position"])] == [third["id"], first["id"]]
    assert as_alice.delete(f"{RULES}{first['id']}/").status_code == 204
    assert len(as_alice.get(RULES, {"project": "harbour", "agent": "demo"}).json()["results"]) == 1


def test_a_bad_pattern_is_refused_by_field_and_reason(as_alice: APIClient) -> None:
    answer = as_alice.post(RULES, {"project": "harbour", "verdict": "deny", "path": "*" * 4 + "/**" * 5}, format="json")
    assert answer.status_code == 400
    assert "double stars" in answer.json()["error"]["data"]["fields"]["path"][0]


def test_the_instances_rules_are_roots_to_write_and_everybodys_to_read(as_alice: APIClient, root: User) -> None:
    assert as_alice.post(RULES, {"verdict": "deny", "kind": "publish"}, format="json").status_code == 403
    by_root = APIClient()
    by_root.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(root)}")
    made = by_root.post(RULES, {"verdict": "deny", "kind": "publish"}, format="json")
    assert made.status_code == 201
    assert [rule["level"] for rule in as_alice.get(RULES).json()["results"]] == ["instance"]
    trial = as_alice.post(
        "/api/v1/policy/test/", {"agent": "demo", "command": "cd a && git push"}, format="json"
    ).json()
    assert (trial["verdict"], trial["level"], trial["rule"]) == ("deny", "instance", made.json()["id"])
    assert len(trial["actions"]) >= 1


@pytest.mark.parametrize(
    ("command", "verdict"), [("cat .e*", "ask"), ("cat src/*", "deny"), ("cat .env", "deny"), ("cat readme", "allow")]
)
def test_a_dry_run_asks_what_only_a_node_can_tell(as_alice: APIClient, command: str, verdict: str) -> None:
    for path in (".env", "src/**"):
        made = as_alice.post(RULES, {"agent": "demo", "verdict": "deny", "path": path}, format="json")
        assert made.status_code == 201, made.json()
    tried = as_alice.post("/api/v1/policy/test/", {"agent": "demo", "command": command}, format="json").json()
    assert tried["verdict"] == verdict, tried


@pytest.mark.parametrize("body", [{"command": "make"}, {"agent": "demo"}])
def test_a_dry_run_needs_both_a_policy_and_a_request(as_alice: APIClient, body: dict[str, Any]) -> None:
    assert as_alice.post("/api/v1/policy/test/", body, format="json").status_code == 400


def test_always_allowing_is_looked_at_before_it_is_stored(as_alice: APIClient, run: Run) -> None:
    path = f"/api/v1/approvals/{asked(run, TEST).pk}/always-allow/"
    seen = as_alice.get(path).json()
    assert seen["proposals"][0]["offered"] == [
        {"kind": "shell", "tool": "", "path": "", "command": "npm test", "host": "", "matched": 1}
    ]
    stored = as_alice.post(path, {"days": 7}, format="json").json()
    assert stored["approval"]["state"] == "decided"
    grants = as_alice.get("/api/v1/policy/grants/", {"agent": "demo"}).json()["results"]
    assert [grant["id"] for grant in grants] == [stored["grants"][0]["id"]]
    assert as_alice.delete(f"/api/v1/policy/grants/{grants[0]['id']}/").status_code == 204
    assert as_alice.post(path, {}, format="json").status_code == 409


def test_who_answers_is_said_for_a_level_and_taken_back(as_alice: APIClient, agent: Agent) -> None:
    make_agent("critic", project=agent.project)
    body = {"project": "harbour", "roles": ["owner"], "reviewer": "critic", "people_after_seconds": 30}
    said = as_alice.put(REVIEWS, body, format="json").json()
    assert (said["level"], said["roles"], said["reviewer_name"]) == ("project", ["owner"], "critic")
    as_alice.put(REVIEWS, {"agent": "demo", "roles": ["maintainer"]}, format="json")
    held = as_alice.get(REVIEWS, {"project": "harbour"}).json()["results"]
    assert [(review["level"], review["people_after_seconds"]) for review in held] == [("agent", None), ("project", 30)]
    assert as_alice.put(REVIEWS, {"project": "harbour"}, format="json").json()["reviewer"] is None
    assert [review["level"] for review in as_alice.get(REVIEWS).json()["results"]] == ["agent"]


def test_no_agent_is_its_own_reviewer_and_the_hubs_review_is_roots(as_alice: APIClient, agent: Agent) -> None:
    answer = as_alice.put(REVIEWS, {"agent": "demo", "reviewer": "demo"}, format="json")
    assert answer.status_code == 400 and "reviewer" in answer.json()["error"]["data"]["fields"]
    assert as_alice.put(REVIEWS, {"roles": ["owner"]}, format="json").status_code == 403
    assert as_alice.put(REVIEWS, {"project": "nowhere"}, format="json").status_code == 404
