"""REST: routes, and letting projects use a node as it is registered or joined."""

from typing import Any

import pytest

from agenthub_site.accounts.models import Membership, Project
from agents.models import Run
from nodes.models import Node, Route
from tests.api.clients import Api, refusal
from tests.factories import make_agent, make_node, make_project, make_user

ROUTES = "/api/v1/routes/"


@pytest.fixture(autouse=True)
def only_local(project: Project, oslo: Node) -> None:
    Route.objects.all().delete()


def test_root_adds_changes_and_removes_a_route(as_root: Api) -> None:
    made = as_root.post(ROUTES, {"project": "harbour", "node": "oslo", "entries": ["api"]}, format="json").json()
    assert (made["leads_to"], made["is_for"], made["entries"]) == ("node:oslo", "everybody", ["api"])
    changed = as_root.patch(f"{ROUTES}{made['id']}/", {"user": "bob"}, format="json").json()
    assert changed["is_for"] == "bob"
    assert as_root.delete(f"{ROUTES}{made['id']}/").status_code == 204
    assert as_root.get(ROUTES).json()["results"] == []


def test_members_read_the_routes_of_their_projects_and_write_none(as_root: Api, as_alice: Api, as_charlie: Api) -> None:
    made = as_root.post(ROUTES, {"project": "harbour", "node": "oslo"}, format="json").json()
    one = f"{ROUTES}{made['id']}/"
    assert [route["id"] for route in as_alice.get(ROUTES).json()["results"]] == [made["id"]]
    assert as_charlie.get(ROUTES).json()["results"] == [] and as_charlie.get(one).status_code == 404
    for answer in (
        as_alice.post(ROUTES, {"project": "harbour", "node": "oslo"}, format="json"),
        as_alice.patch(one, {"note": "mine"}, format="json"),
        as_alice.delete(one),
    ):
        assert refusal(answer) == (403, "forbidden")
    assert as_charlie.delete(one).status_code == 404


def test_a_bearer_token_comes_by_api_and_is_refused_where_the_route_names_another_entry(
    as_root: Api, as_bob: Api, project: Project, oslo: Node
) -> None:
    agent = make_agent(project=project, node=oslo)
    body = {"agent": str(agent.pk), "prompt": "Go."}
    made = as_root.post(ROUTES, {"project": "harbour", "node": "oslo", "entries": ["web"]}, format="json").json()
    refused = as_bob.post("/api/v1/runs/", body, format="json")
    assert refusal(refused) == (403, "route_missing")
    assert refused.json()["error"]["data"]["missing"]["entry"] == "api"
    as_root.patch(f"{ROUTES}{made['id']}/", {"entries": ["api"]}, format="json")
    assert as_bob.post("/api/v1/runs/", body, format="json").status_code == 201
    assert Run.objects.get().entry == "api"


def test_asking_says_whether_a_run_may_go_and_what_would_let_it(as_root: Api, as_bob: Api, as_charlie: Api) -> None:
    ask = {"project": "harbour", "node": "oslo"}
    no = as_bob.get(f"{ROUTES}test/", ask).json()
    assert (no["is_allowed"], no["command"]) == (False, "agenthub route add --project harbour --node oslo")
    as_root.post(ROUTES, {**ask, "user": "bob"}, format="json")
    yes = as_bob.get(f"{ROUTES}test/", ask).json()
    assert yes["is_allowed"] and len(yes["routes"]) == 1
    assert not as_root.get(f"{ROUTES}test/", {**ask, "user": "alice", "entry": "mcp"}).json()["is_allowed"]
    assert refusal(as_bob.get(f"{ROUTES}test/", {**ask, "user": "alice"})) == (403, "forbidden")
    assert as_charlie.get(f"{ROUTES}test/", ask).status_code == 404


@pytest.mark.parametrize(("role", "word"), [("viewer", "viewer"), ("reviewer", "reviewer"), (None, "no member")])
@pytest.mark.parametrize("node", ["local", "oslo"])
def test_who_may_start_no_runs_is_told_so_whichever_routes_there_are(
    as_root: Api, project: Project, node: str, role: str | None, word: str
) -> None:
    make_node("local")
    dora = make_user("dora")
    if role:
        Membership.objects.create(project=project, user=dora, role=role)
    as_root.post(ROUTES, {"project": "harbour", "node": "oslo"}, format="json")
    told = as_root.get(f"{ROUTES}test/", {"project": "harbour", "node": node, "user": "dora"}).json()
    assert (told["is_allowed"], told["routes"], told["command"]) == (False, [], "")
    assert told["because"] == f"dora is {word} of project harbour, and starts no runs there: that takes a developer."


def test_a_node_is_registered_with_the_projects_that_may_use_it(as_root: Api) -> None:
    make_project("quarry")
    Route.objects.all().delete()
    body: dict[str, Any] = {"id": "far", "name": "Far", "grpc_target": "https://far:50051"}
    made = as_root.post("/api/admin/agent-nodes", {**body, "allow_projects": ["harbour"]}, format="json")
    assert made.json()["projects"] == ["harbour"]
    more = as_root.patch("/api/admin/agent-nodes/far", {"allow_projects": ["quarry", "harbour"]}, format="json")
    assert more.json()["projects"] == ["harbour", "quarry"] and Route.objects.count() == 2
    wrong = as_root.post("/api/admin/agent-nodes", {**body, "id": "no", "allow_projects": ["nope"]}, format="json")
    assert refusal(wrong) == (400, "invalid") and not Node.objects.filter(slug="no").exists()


def test_the_list_is_read_by_as_many_queries_for_many_as_for_few(
    as_root: Api, django_assert_max_num_queries: Any
) -> None:
    for number in range(5):
        as_root.post(ROUTES, {"project": "harbour", "pool": f"pool-{number}"}, format="json")
    with django_assert_max_num_queries(6):
        assert len(as_root.get(ROUTES).json()["results"]) == 5
