"""``/api/v1/agents/``."""

from typing import Any

import pytest

from agenthub_site.accounts.models import Project, Role
from agents.models import Agent
from nodes.models import Node
from tests.api.clients import Api, refusal
from tests.factories import make_agent, make_node, make_project, make_user

AGENTS = "/api/v1/agents/"


def body(**changes: Any) -> dict[str, Any]:
    fields = {
        "project": "harbour",
        "name": "mender",
        "node": "oslo",
        "preset": "scripted",
        "worktree_repo": "/srv/quay",
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def test_a_maintainer_makes_an_agent(project: Project, oslo: Node) -> None:
    make_project(mona=Role.MAINTAINER)
    response = Api(make_user("mona")).post(AGENTS, body(environment={"CI": "1"}, command=["agent", "--acp"]))
    assert response.status_code == 201 and response["ETag"]
    made = response.json()
    assert (made["project_slug"], made["node_slug"], made["environment"]) == ("harbour", "oslo", {"CI": "1"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "../up"}, "name"),
        ({"name": None}, "name"),
        ({"node": "atlantis"}, "node"),
        ({"runtime": "magic"}, "runtime"),
        ({"runtime": "command", "command": []}, "command"),
        ({"command": "rm -rf"}, "command"),
        ({"environment": {"A B": "1"}}, "environment"),
        ({"environment": {"AGENTHUB_HOME": "/"}}, "environment"),
        ({"worktree_repo": None}, "worktree_repo"),
        ({"approval_seconds": 0}, "approval_seconds"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_an_agent_that_does_not_fit_is_refused_and_the_field_is_named(
    as_alice: Api, project: Project, oslo: Node, changes: dict[str, Any], field: str
) -> None:
    response = as_alice.post(AGENTS, body(**changes))
    assert refusal(response) == (400, "invalid")
    assert field in response.json()["error"]["data"]["fields"]
    assert not Agent.objects.exists()


def test_an_agent_can_be_made_for_any_node_that_fits(as_alice: Api, project: Project, db: None) -> None:
    made = as_alice.post(AGENTS, body(node=None, pool="gpu", node_labels={"arch": "arm64"})).json()
    assert (made["node"], made["node_slug"], made["pool"]) == (None, None, "gpu")
    assert made["node_labels"] == {"arch": "arm64"}
    assert made["runs_on"] == "any node of pool gpu with arch=arm64"
    assert as_alice.get(AGENTS).json()["results"] == [made]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"node": None}, "node"),
        ({"pool": "gpu"}, "node"),
        ({"node_labels": {"a": "b"}}, "node"),
        ({"node": None, "pool": "g pu"}, "pool"),
        ({"node": None, "pool": "g" * 65}, "pool"),
        ({"node": None, "node_labels": {"a": 7, "b": None}}, "node_labels"),
        ({"node": None, "node_labels": {"n" * 64: "x"}}, "node_labels"),
        ({"node": None, "node_labels": {"": "x"}}, "node_labels"),
        ({"node": None, "node_labels": {str(n): "x" for n in range(17)}}, "node_labels"),
    ],
)
def test_an_agent_has_one_way_to_its_nodes(
    as_alice: Api, project: Project, oslo: Node, changes: dict[str, Any], field: str
) -> None:
    response = as_alice.post(AGENTS, body(**changes))
    assert refusal(response) == (400, "invalid")
    assert field in response.json()["error"]["data"]["fields"]
    assert not Agent.objects.exists()


def test_a_pool_takes_the_place_of_a_node_and_a_node_of_a_pool(as_alice: Api, project: Project, oslo: Node) -> None:
    url = f"{AGENTS}{as_alice.post(AGENTS, body()).json()['id']}/"
    pooled = as_alice.patch(url, {"pool": "gpu"}).json()
    assert (pooled["node"], pooled["runs_on"]) == (None, "any node of pool gpu")
    labelled = as_alice.patch(url, {"pool": "", "node_labels": {"gpu": "yes"}}).json()
    assert labelled["runs_on"] == "any node with gpu=yes"
    bound = as_alice.patch(url, {"node": "oslo"}).json()
    assert (bound["pool"], bound["node_labels"], bound["runs_on"]) == ("", {}, "node:oslo")
    assert refusal(as_alice.patch(url, {"node": None})) == (400, "invalid")


def test_a_run_that_waits_for_a_node_has_none_and_says_which_fit(as_alice: Api, project: Project, oslo: Node) -> None:
    as_alice.post(AGENTS, body(node=None, pool="gpu"))
    run = as_alice.post("/api/v1/runs/", {"agent": "mender", "prompt": "Go."}).json()
    assert (run["state"], run["reason"], run["node"], run["node_slug"]) == ("queued", "no_matching_node", None, None)
    assert (run["runs_on"], run["placed_at"]) == ("any node of pool gpu", None)
    assert run["waiting_for"] == "a node that fits: no node is in pool gpu"
    assert as_alice.get("/api/v1/runs/?node=oslo").json()["results"] == []
    assert as_alice.post(f"/api/v1/runs/{run['id']}/cancel/").json()["state"] == "cancelled"


def test_an_agent_says_what_becomes_of_its_runs_when_a_node_is_cut_off(
    as_alice: Api, project: Project, oslo: Node
) -> None:
    made = as_alice.post(AGENTS, body()).json()
    assert (made["lost_after_seconds"], made["stop_after_seconds"], made["resume"]) == (60, None, False)
    url = f"{AGENTS}{made['id']}/"
    policy = {"lost_after_seconds": 600, "stop_after_seconds": 300, "resume": True}
    assert as_alice.patch(url, policy).json().items() >= policy.items()
    assert as_alice.patch(url, {"stop_after_seconds": None}).json()["stop_after_seconds"] is None


def test_an_agent_says_what_is_demanded_of_its_runs(as_alice: Api, project: Project, agent: Agent) -> None:
    demands = {"required_isolation": "none", "required_network": "none"}
    assert as_alice.patch(f"/api/v1/projects/{project.pk}/", demands).json().items() >= demands.items()
    shown = as_alice.get(f"{AGENTS}{agent.pk}/").json()
    assert (shown["isolation"], shown["network"]) == ("none", "shared")
    assert (shown["demanded_isolation"], shown["demanded_network"]) == ("masked", "none")


@pytest.mark.parametrize(
    "policy", [{"lost_after_seconds": 0}, {"lost_after_seconds": 259_201}, {"stop_after_seconds": 9}, {"resume": 7}]
)
def test_a_policy_out_of_bounds_is_refused(as_alice: Api, project: Project, oslo: Node, policy: dict[str, Any]) -> None:
    response = as_alice.post(AGENTS, body(**policy))
    assert refusal(response) == (400, "invalid")
    assert response.json()["error"]["data"]["fields"].keys() == policy.keys()


def test_a_taken_name_is_a_conflict(as_alice: Api, agent: Agent) -> None:
    assert refusal(as_alice.post(AGENTS, body(name="demo"))) == (409, "name_taken")


def test_a_project_that_one_does_not_see_takes_no_agent(as_charlie: Api, project: Project, oslo: Node) -> None:
    assert refusal(as_charlie.post(AGENTS, body())) == (404, "not_found")


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.REVIEWER, Role.VIEWER])
def test_other_roles_look_and_change_nothing(agent: Agent, role: str) -> None:
    make_project(dora=role)
    as_dora, url = Api(make_user("dora")), f"{AGENTS}{agent.pk}/"
    assert as_dora.get(url).status_code == 200
    assert refusal(as_dora.post(AGENTS, body())) == (403, "forbidden")
    assert refusal(as_dora.patch(url, {"name": "mine"})) == (403, "forbidden")
    assert refusal(as_dora.delete(url)) == (403, "forbidden")


def test_values_of_the_environment_are_for_those_who_may_set_them(as_alice: Api, as_bob: Api, agent: Agent) -> None:
    as_alice.patch(f"{AGENTS}{agent.pk}/", {"environment": {"KEY": "shh"}, "worktree_repo": "/srv/quay"})
    assert as_alice.get(f"{AGENTS}{agent.pk}/").json()["environment"] == {"KEY": "shh"}
    assert as_bob.get(f"{AGENTS}{agent.pk}/").json()["environment"] == {"KEY": "•••"}
    assert "shh" not in as_bob.get(AGENTS).content.decode()


def test_a_change_with_the_etag_one_read_goes_through_and_a_stale_one_does_not(as_alice: Api, project: Project) -> None:
    url = f"{AGENTS}{make_agent(project=project, worktree_repo='/srv/quay').pk}/"
    read = as_alice.get(url)["ETag"]
    changed = as_alice.patch(url, {"description": "first"}, headers={"If-Match": read})
    assert changed.status_code == 200 and changed["ETag"] != read
    assert refusal(as_alice.patch(url, {"description": "second"}, headers={"If-Match": read})) == (
        412,
        "precondition_failed",
    )
    assert as_alice.get(url).json()["description"] == "first"


def test_an_agent_moves_to_another_node(as_alice: Api, project: Project) -> None:
    make_node("bergen")
    url = f"{AGENTS}{make_agent(project=project, worktree_repo='/srv/quay').pk}/"
    assert as_alice.patch(url, {"node": "bergen"}).json()["node_slug"] == "bergen"


def test_an_agent_put_away_leaves_the_list_and_keeps_its_history(as_alice: Api, agent: Agent) -> None:
    assert as_alice.delete(f"{AGENTS}{agent.pk}/").status_code == 204
    assert as_alice.get(AGENTS).json()["results"] == []
    assert len(as_alice.get(f"{AGENTS}?archived=true").json()["results"]) == 1
    assert as_alice.get(f"{AGENTS}{agent.pk}/").json()["archived_at"]
    assert refusal(as_alice.post("/api/v1/runs/", {"agent": "demo", "prompt": "Go."})) == (404, "not_found")


def test_an_outsider_finds_no_agent(as_charlie: Api, agent: Agent) -> None:
    url = f"{AGENTS}{agent.pk}/"
    for response in (as_charlie.get(url), as_charlie.patch(url, {"name": "x"}), as_charlie.delete(url)):
        assert refusal(response) == (404, "not_found")
    assert as_charlie.get(AGENTS).json()["results"] == []


def test_a_list_takes_the_same_queries_however_long(
    as_alice: Api, project: Project, django_assert_num_queries: Any
) -> None:
    for number in range(5):
        make_agent(f"agent-{number}", project=project, node=make_node(f"node-{number}"))
    as_alice.get(AGENTS)
    with django_assert_num_queries(3):  # token, roles, agents
        assert len(as_alice.get(f"{AGENTS}?project=harbour").json()["results"]) == 5
