"""Tools for working the hub itself: only for tokens that say so, and no more than their holder may do."""

from dataclasses import replace
from typing import Any

import pytest

from agenthub_site.accounts.actors import AGENT_ROLE, Actor, ActorKind, Entry, Held
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import Project, User
from agenthub_site.accounts.scopes import capabilities_of
from agents.models import Agent, Run
from agents.states import State
from nodes.contract.ids import new_id
from tests.factories import make_approval, make_run
from tests.readers.events import append

from .conftest import call


def holding(actor: Actor, scope: str) -> Actor:
    """The actor, come by MCP with a token of this scope."""
    return replace(actor, token=Held(new_id(), capabilities_of(scope)), entry=Entry.MCP)


@pytest.fixture
def bob_by_mcp(bob: User, project: Project) -> Actor:
    return holding(actor_of(bob), "all hub:tools")


def test_a_token_that_does_not_say_so_has_none_of_them(bob: User, project: Project) -> None:
    plain = holding(actor_of(bob), "all")
    for tool in ("run_start", "run_follow", "run_cancel", "run_diff", "approval_list", "approval_answer"):
        assert call(plain, tool)["error"] == "UNKNOWN_TOOL"


def test_a_run_is_started_followed_and_cancelled(bob_by_mcp: Actor, agent: Agent) -> None:
    started = call(bob_by_mcp, "run_start", agent="demo", prompt="Tidy up.")["run"]
    assert (started["agent"], Run.objects.get().entry) == ("demo", "mcp")
    told = call(bob_by_mcp, "run_follow", run_id=started["id"])
    assert (told["run"]["id"], told["events"]) == (started["id"], [])
    cancelled = call(bob_by_mcp, "run_cancel", run_id=started["id"])["run"]
    assert cancelled["state"] in ("cancelled", "stopping")


def test_events_are_read_after_a_number_and_in_parts(bob_by_mcp: Actor, run: Run) -> None:
    append(run.pk, count=5)
    first = call(bob_by_mcp, "run_follow", run_id=str(run.pk), limit=3)
    assert ([event["seq"] for event in first["events"]], first["next"], first["last_seq"]) == ([1, 2, 3], 3, 5)
    rest = call(bob_by_mcp, "run_follow", run_id=str(run.pk), after=3)
    assert [event["seq"] for event in rest["events"]] == [4, 5] and rest["next"] == rest["last_seq"]


def test_a_diff_is_told_with_its_state(bob_by_mcp: Actor, run: Run) -> None:
    assert call(bob_by_mcp, "run_diff", run_id=str(run.pk))["diff"]["state"] == "none"


def test_a_question_is_answered_once(bob_by_mcp: Actor, agent: Agent) -> None:
    approval = make_approval(make_run(agent=agent, state=State.WAITING))
    (asked,) = call(bob_by_mcp, "approval_list")["approvals"]
    assert (asked["id"], asked["command"]) == (str(approval.pk), "make test")
    given: dict[str, Any] = {"approval_id": asked["id"], "option_id": "yes"}
    assert call(bob_by_mcp, "approval_answer", **given)["approval"]["option_id"] == "yes"
    assert call(bob_by_mcp, "approval_answer", **given)["error"] == "ALREADY_DECIDED"
    assert call(bob_by_mcp, "approval_list")["approvals"] == []


def test_what_is_another_projects_is_not_found(charlie: User, run: Run) -> None:
    by_mcp = holding(actor_of(charlie), "all hub:tools")
    for tool in ("run_follow", "run_cancel", "run_diff"):
        assert call(by_mcp, tool, run_id=str(run.pk))["error"] == "NOT_FOUND"
    assert call(by_mcp, "run_start", agent="harbour/demo", prompt="x")["error"] == "NOT_FOUND"
    approval = make_approval(run)
    assert call(by_mcp, "approval_answer", approval_id=str(approval.pk), option_id="yes")["error"] == "NOT_FOUND"


def test_an_agent_starts_and_stops_no_runs_even_so(agent: Agent, run: Run) -> None:
    roles = {agent.project_id: AGENT_ROLE}
    actor = holding(Actor(ActorKind.AGENT, str(agent.pk), "harbour/demo", roles=roles), "all hub:tools")
    assert call(actor, "run_start", agent="demo", prompt="More of me.")["error"] == "FORBIDDEN"
    assert call(actor, "run_cancel", run_id=str(run.pk))["error"] == "FORBIDDEN"
    approval = make_approval(run)
    assert call(actor, "approval_answer", approval_id=str(approval.pk), option_id="yes")["error"] != ""
    assert call(actor, "run_follow", run_id=str(run.pk))["ok"]


def test_a_scope_of_hub_tools_alone_starts_nothing(bob: User, agent: Agent) -> None:
    narrow = holding(actor_of(bob), "read hub:tools")
    assert call(narrow, "run_start", agent="demo", prompt="x")["error"] == "OUT_OF_SCOPE"
