"""``/api/v1/approvals/`` and the one answer to each."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agenthub_site.accounts.models import Role
from agents.models import Agent, Approval, Run
from agents.states import State
from nodes.models import Command
from tests.api.clients import Api, refusal
from tests.factories import make_approval, make_project, make_run, make_user


@pytest.fixture
def approval(agent: Agent) -> Approval:
    return make_approval(make_run(agent=agent, state=State.WAITING))


def decide(api: Api, approval: Approval, body: Any) -> Any:
    return api.post(f"/api/v1/runs/{approval.run_id}/approvals/{approval.pk}/decide/", body)


def test_a_runs_approvals_show_state_and_options(as_bob: Api, approval: Approval, run: Run) -> None:
    make_approval(run)
    (shown,) = as_bob.get(f"/api/v1/approvals/?run={approval.run_id}").json()["results"]
    assert (shown["id"], shown["state"], shown["decided_by"]) == (str(approval.pk), "pending", None)
    assert shown["options"] == [
        {"option_id": "yes", "name": "Allow", "kind": "allow_once"},
        {"option_id": "no", "name": "Reject", "kind": "reject_once"},
    ]


def test_approvals_are_narrowed_by_state_and_project(as_bob: Api, approval: Approval, run: Run) -> None:
    make_approval(run, state=Approval.State.APPLIED)
    rows = as_bob.get("/api/v1/approvals/?state=pending&state=decided&project=harbour").json()["results"]
    assert [row["id"] for row in rows] == [str(approval.pk)]
    assert as_bob.get("/api/v1/approvals/?project=pier").json()["results"] == []


def test_one_shows_what_it_is_about(as_bob: Api, approval: Approval) -> None:
    shown = as_bob.get(f"/api/v1/approvals/{approval.pk}/").json()
    assert (shown["kind"], shown["command"], shown["content"]) == ("shell", "make test", [])


def test_an_option_decides_and_is_sent_to_the_node(as_bob: Api, approval: Approval) -> None:
    decided = decide(as_bob, approval, {"option_id": "yes"}).json()
    assert (decided["state"], decided["outcome"], decided["option_id"]) == ("decided", "selected", "yes")
    assert decided["decided_by"]["label"] == "bob"
    assert Command.objects.filter(run=approval.run_id, kind="decide_approval").count() == 1


def test_an_approval_can_be_cancelled(as_bob: Api, approval: Approval) -> None:
    decided = decide(as_bob, approval, {"outcome": "cancelled"}).json()
    assert (decided["outcome"], decided["option_id"]) == ("cancelled", "")


def test_the_second_answer_is_refused_and_sees_the_first(as_bob: Api, as_alice: Api, approval: Approval) -> None:
    decide(as_bob, approval, {"option_id": "no"})
    response = decide(as_alice, approval, {"option_id": "yes"})
    assert refusal(response) == (409, "already_decided")
    winner = response.json()["error"]["data"]
    assert (winner["option_id"], winner["by"]["label"]) == ("no", "bob")
    assert Command.objects.filter(kind="decide_approval").count() == 1


def test_an_expired_approval_is_not_answered(as_bob: Api, approval: Approval) -> None:
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert refusal(decide(as_bob, approval, {"option_id": "yes"})) == (409, "approval_expired")


@pytest.mark.parametrize(
    "body", [{}, {"option_id": "maybe"}, {"outcome": "selected"}, {"option_id": "yes", "outcome": "cancelled"}]
)
def test_an_answer_that_is_none_is_refused(as_bob: Api, approval: Approval, body: Any) -> None:
    assert refusal(decide(as_bob, approval, body)) == (400, "invalid")
    approval.refresh_from_db()
    assert approval.state == Approval.State.PENDING


def test_an_approval_belongs_to_its_run(as_bob: Api, approval: Approval, run: Run) -> None:
    url = f"/api/v1/runs/{run.pk}/approvals/{approval.pk}/decide/"
    assert refusal(as_bob.post(url, {"option_id": "yes"})) == (404, "not_found")


def test_an_outsider_finds_no_approval(as_charlie: Api, approval: Approval) -> None:
    assert refusal(decide(as_charlie, approval, {"option_id": "yes"})) == (404, "not_found")
    assert refusal(as_charlie.get(f"/api/v1/approvals/{approval.pk}/")) == (404, "not_found")
    assert as_charlie.get("/api/v1/approvals/").json()["results"] == []


def test_a_viewer_looks_and_a_reviewer_answers(approval: Approval) -> None:
    make_project(vera=Role.VIEWER, rita=Role.REVIEWER)
    assert refusal(decide(Api(make_user("vera")), approval, {"option_id": "yes"})) == (403, "forbidden")
    assert decide(Api(make_user("rita")), approval, {"option_id": "yes"}).status_code == 200


def test_a_list_takes_the_same_queries_however_long(
    as_bob: Api, approval: Approval, django_assert_num_queries: Any
) -> None:
    for _ in range(5):
        make_approval(approval.run)
    as_bob.get("/api/v1/approvals/")
    with django_assert_num_queries(3):  # token, roles, approvals
        assert len(as_bob.get("/api/v1/approvals/").json()["results"]) == 6


def test_what_waits_for_me_is_one_list_over_all_projects(as_bob: Api, approval: Approval) -> None:
    make_approval(approval.run, offered_roles=" maintainer ")
    make_approval(approval.run, expires_at=timezone.now())
    make_approval(approval.run, state=Approval.State.APPLIED)
    (mine,) = as_bob.get("/api/v1/approvals/?state=open&mine=true").json()["results"]
    assert (mine["id"], mine["may_answer"], mine["agent_name"], mine["asked_for"]) == (
        str(approval.pk), True, "demo", "alice",
    )  # fmt: skip
    assert 590 < mine["seconds_left"] <= 600
    (others,) = as_bob.get("/api/v1/approvals/?state=open&mine=false").json()["results"]
    assert (others["may_answer"], others["offered"]["roles"]) == (False, ["maintainer"])


@pytest.mark.parametrize(("query", "count"), [("kind=shell", 1), ("kind=read", 0), ("agent=demo", 1), ("agent=x", 0)])
def test_approvals_are_narrowed_by_kind_and_agent(as_bob: Api, approval: Approval, query: str, count: int) -> None:
    assert len(as_bob.get(f"/api/v1/approvals/?{query}").json()["results"]) == count


def test_many_are_answered_at_once_and_each_is_told(as_bob: Api, approval: Approval) -> None:
    lost = "0199a1b2-0000-7000-8000-0000000000a1"
    response = as_bob.post("/api/v1/approvals/decide/", {"approvals": [lost, str(approval.pk)], "answer": "reject"})
    assert response.status_code == 207
    body = response.json()
    assert [(each["status"], each["state"]) for each in body["results"]] == [(404, None), (200, "decided")]
    assert (body["results"][0]["error"]["code"], body["decided"], body["refused"]) == ("not_found", 1, 1)


@pytest.mark.parametrize("body", [{"approvals": []}, {"approvals": ["x"]}, {"answer": "allow_always"}, {}])
def test_a_bulk_answer_that_is_none_is_refused(as_bob: Api, approval: Approval, body: Any) -> None:
    full = {"approvals": [str(approval.pk)], "answer": "reject", **body} if body else {}
    assert refusal(as_bob.post("/api/v1/approvals/decide/", full)) == (400, "invalid")
