"""The board, a task's page, the operator's buttons, and what an agent's page says of MCP."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agenthub_site.accounts.models import User
from agents.coordination.models import Round, Task
from agents.coordination.services.assignments import Work, claim_assignment, complete_assignment
from agents.coordination.services.locks import acquire_lock
from tests.factories import make_root

from .conftest import Crew


@pytest.fixture
def as_bob(bob: User) -> Client:
    client = Client()
    client.force_login(bob)
    return client


@pytest.fixture
def as_charlie(charlie: User) -> Client:
    client = Client()
    client.force_login(charlie)
    return client


def test_the_board_has_each_task_in_its_column(crew: Crew, as_bob: Client) -> None:
    crew.draft("T-draft")
    crew.plan(task=crew.draft("T-waits"))
    (item,) = crew.approved(task=crew.draft("T-works"))
    claim_assignment(item, by=crew.wim)
    acquire_lock("branch:main", by=crew.zoe)
    said = as_bob.get("/tasks/").content.decode()
    places = [said.index(word) for word in ("Drafts", "T-draft", "Wait for you", "T-waits", "Under way", "T-works")]
    assert places == sorted(places)
    assert "branch:main" in said and "held by zoe" in said
    assert "Reject round 1 of T-waits without a reason?" in said


def test_an_operator_approves_from_the_board_and_rejects_with_a_note(crew: Crew, as_bob: Client) -> None:
    first, second = crew.plan(task=crew.draft("T-1")), crew.plan(task=crew.draft("T-2"))
    answer = as_bob.post(f"/rounds/{first.pk}/approve/", {"from": "board"})
    assert (answer.status_code, answer["Location"]) == (302, "/tasks/")
    answer = as_bob.post(f"/rounds/{second.pk}/reject/", {"note": "Too broad."})
    assert answer["Location"] == f"/tasks/{second.task_id}/"
    assert dict(Round.objects.values_list("task__key", "state")) == {"T-1": "dispatched", "T-2": "rejected"}
    again = as_bob.post(f"/rounds/{first.pk}/approve/", follow=True).content.decode()
    assert "does not wait for an operator" in again


def test_the_board_says_that_a_rejected_plan_opened_again(crew: Crew, as_bob: Client) -> None:
    crew.limit(auto_create_next_round=True)
    said = as_bob.post(f"/rounds/{crew.plan().pk}/reject/", {"from": "board"}, follow=True).content.decode()
    assert "It opened again by itself, as round 2, and waits for you." in said
    shown = as_bob.get(f"/tasks/{Round.objects.get(number=2).task_id}/").content.decode()
    assert shown.count("It opened by itself, with the goals of the round before.") == 1


def test_a_tasks_page_shows_rounds_handoffs_and_notes(crew: Crew, as_bob: Client) -> None:
    (item,) = crew.approved()
    claim_assignment(item, by=crew.wim)
    complete_assignment(item, Work(branch="nets", changed_files=["<b>.py"], notes="Look."), by=crew.wim)
    said = as_bob.get(f"/tasks/{item.task_id}/").content.decode()
    assert "awaiting review" in said and "nets" in said and "&lt;b&gt;.py" in said
    part = as_bob.get(f"/tasks/{item.task_id}/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part


def test_a_task_is_closed_by_its_button(crew: Crew, as_bob: Client) -> None:
    round_ = crew.plan()
    as_bob.post(f"/tasks/{round_.task_id}/close/")
    assert Task.objects.get().state == "closed"


def test_a_task_is_given_to_another_dispatcher_on_its_page(crew: Crew, as_bob: Client) -> None:
    task = crew.draft()
    assert "Give it to another dispatcher" in as_bob.get(f"/tasks/{task.pk}/").content.decode()
    as_bob.post(f"/tasks/{task.pk}/hand/", {"dispatcher": str(crew.agent("zoe").pk)})
    task.refresh_from_db()
    assert task.dispatcher.name == "zoe"


def test_the_board_takes_a_fixed_number_of_queries(crew: Crew, as_bob: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert as_bob.get("/tasks/").status_code == 200
        return len(queries)

    for key in ("a", "b"):
        crew.approved("wim", "zoe", task=crew.draft(key))
    few = count()
    for key in ("c", "d", "e"):
        crew.approved("wim", "zoe", task=crew.draft(key))
    assert count() == few


def test_others_see_none_of_it(crew: Crew, as_charlie: Client) -> None:
    round_ = crew.plan()
    assert "Mend the nets" not in as_charlie.get("/tasks/").content.decode()
    assert as_charlie.get(f"/tasks/{round_.task_id}/").status_code == 404
    assert as_charlie.post(f"/rounds/{round_.pk}/approve/").status_code == 404


def test_an_agents_page_has_the_snippet_of_each_known_client(crew: Crew, as_bob: Client) -> None:
    said = as_bob.get(f"/agents/{crew.agent('ada').pk}/").content.decode()
    for name in ("Claude Code", "Codex", "Gemini CLI", "OpenCode"):
        assert name in said
    assert len(re.findall("http://testserver/mcp", said)) == 4
    assert "It runs elsewhere" in said and "Start a run</a>\n  </div>" not in said


def test_the_registry_approves_and_closes(crew: Crew) -> None:
    as_root = Client()
    as_root.force_login(make_root())
    round_ = crew.plan()
    chosen = {"action": "approve", "_selected_action": [str(round_.pk)]}
    assert as_root.post("/admin/coordination/round/", chosen).status_code == 302
    round_.refresh_from_db()
    assert round_.state == "dispatched"
    again = as_root.post("/admin/coordination/round/", chosen, follow=True).content.decode()
    assert "does not wait for an operator" in again
    as_root.post(
        "/admin/coordination/task/", {"action": "close", "_selected_action": [str(round_.task_id)], "post": "yes"}
    )
    assert Task.objects.get().state == "closed"
