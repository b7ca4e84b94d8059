"""What is alive in agent-hub-mcp's database comes over as it is, once; its faults do not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agents.coordination.models import Assignment, Lock, Round, Task
from agents.coordination.services.assignments import claim_assignment
from agents.coordination.services.rounds import approve_round, review_round
from agents.models import Agent
from integrations.agent_hub.importing import TakenOver, take_over
from integrations.cli.old_hub import read_old_hub
from mailboxes.models import Message
from nodes.contract.errors import Invalid
from tests.coordination.conftest import Crew
from tests.fakes.old_hub import WHEN, FakeOldHub

from .conftest import Call

pytestmark = pytest.mark.django_db


@pytest.fixture
def old(tmp_path: Path) -> FakeOldHub:
    return FakeOldHub(tmp_path / "hub.db")


def bring(crew: Crew, old: FakeOldHub) -> TakenOver:
    return take_over(crew.project, read_old_hub(old.path, timezone.now()), by=SYSTEM)


def test_work_goes_on_where_it_was(crew: Crew, old: FakeOldHub) -> None:
    old.round(old.task("T-1"), 1, "dispatched", "completed", "in_progress", "pending")
    soon = datetime.now(UTC) + timedelta(minutes=5)
    old.change("assignments", "T-1-1-1", lease_expires_at=soon.isoformat(), progress_note="Half way")
    old.add(
        "handoffs", id="h", assignment_id="T-1-1-0", from_agent="wim", branch="nets", changed_files='["net.py"]',
        tests_run="all of them",
    )  # fmt: skip
    told = bring(crew, old)
    assert (told.tasks, told.rounds, told.assignments, told.handoffs, told.agents) == (1, 1, 3, 1, 0)
    task = Task.objects.get()
    assert (task.key, task.state, task.dispatcher.name) == ("T-1", "dispatched", "ada")
    assert f"{task.created_at.isoformat()}" == WHEN and task.pk.version == 7
    done, held, waiting = Assignment.objects.order_by("position")
    assert (done.state, held.state, waiting.state) == ("completed", "in_progress", "pending")
    assert (done.handoff.branch, done.handoff.changed_files, done.handoff.tests_run) == (
        "nets", ["net.py"], ["all of them"],
    )  # fmt: skip
    assert {item.created_at.isoformat() for item in (done, held, waiting, done.handoff)} == {WHEN}
    assert (held.lease_expires_at, held.progress_note) == (soon, "Half way")
    assert Round.objects.get().state == "in_progress"
    assert claim_assignment(waiting, by=crew.wim).state == "claimed"


@pytest.mark.parametrize(
    ("status", "items", "states"),
    [
        ("awaiting_operator_approval", ["pending"], ("awaiting_operator_approval", "awaiting_operator_approval")),
        ("awaiting_operator_approval", ["in_progress"], ("awaiting_operator_approval", "awaiting_operator_approval")),
        ("awaiting_operator_approval", [], ("cancelled", "draft")),
        ("dispatched", ["pending"], ("dispatched", "dispatched")),
        ("dispatched", ["claimed", "pending"], ("in_progress", "dispatched")),
        ("dispatched", ["completed"], ("awaiting_review", "dispatched")),
        ("awaiting_review", ["completed"], ("awaiting_review", "dispatched")),
        ("awaiting_review", ["in_progress"], ("in_progress", "dispatched")),
        ("completed", ["completed"], ("completed", "draft")),
    ],
)
def test_states_that_cannot_be_become_those_that_they_were_meant_to_be(
    crew: Crew, old: FakeOldHub, status: str, items: list[str], states: tuple[str, str]
) -> None:
    old.round(old.task("T-1", "awaiting_operator_approval"), 1, status, *items)
    bring(crew, old)
    assert (Round.objects.get().state, Task.objects.get().state) == states


def test_work_that_nobody_had_approved_begins_when_it_is(crew: Crew, old: FakeOldHub) -> None:
    old.round(old.task("T-1"), 1, "awaiting_operator_approval", "completed")
    old.add("handoffs", id="h", assignment_id="T-1-1-0", from_agent="wim", branch="nets", commit_hash="c0ffee")
    bring(crew, old)
    item = Assignment.objects.get()
    assert item.state == "pending" and "nets c0ffee" in item.progress_note
    approve_round(Round.objects.get(), by=crew.operator)
    assert claim_assignment(item, by=crew.wim).state == "claimed"


def test_a_plan_that_was_rejected_is_planned_anew(crew: Crew, old: FakeOldHub) -> None:
    old.round(old.task("T-1", "awaiting_operator_approval"), 1, "awaiting_operator_approval", "pending")
    old.add("operator_approvals", round_id="T-1-1", operator_action="reject", operator_note="Too coarse.")
    bring(crew, old)
    round_ = Round.objects.get()
    assert (round_.state, round_.operator_note, round_.task.state) == ("rejected", "Too coarse.", "draft")
    assert Assignment.objects.get().state == "cancelled"


def test_of_the_rounds_only_the_last_is_open(crew: Crew, old: FakeOldHub) -> None:
    """It let the first be approved while the second waited."""
    task = old.task("T-1")
    old.round(task, 1, "awaiting_review", "completed")
    old.add("rounds", id="another", task_id=task, round_number=1, status="dispatched")  # nothing forbade it
    old.round(task, 2, "awaiting_review", "completed")
    bring(crew, old)
    assert [(each.number, each.state) for each in Round.objects.order_by("number")] == [
        (1, "changes_requested"), (2, "cancelled"), (3, "awaiting_review"),
    ]  # fmt: skip
    review_round(Round.objects.get(number=3), by=crew.ada, verdict="approved")
    assert Task.objects.get().state == "completed"


def test_unread_mail_comes_once_and_in_order(crew: Crew, old: FakeOldHub, wim: Call, ada: Call) -> None:
    old.round(old.task("T-1"), 1, "dispatched", "pending")
    mail = {"from_agent": "ada", "to_agent": "wim"}
    old.add("messages", id="m0", **mail, is_read=1, round_id="T-1-1")
    old.add("messages", id="m1", **mail, subject="Line\none", body="Go", msg_type="Status Report!", round_id="T-1-1")
    old.add("messages", id="m2", from_agent="wim", to_agent="ada", reply_to="m1", body="Gone", msg_type="answer")
    old.add("messages", id="m3", from_agent="ada", body="All of you")
    old.add("messages", id="m4", **mail, body="x" * 70_000)
    told = bring(crew, old)
    assert told.messages == 3 and [each for each in told.left if "m4" in each]
    first, second = wim("inbox_pull")["messages"]
    assert (first["subject"], first["body"], first["from_agent"], first["msg_type"]) == (
        "Line\none", "Go", "ada", "Status Report!",
    )  # fmt: skip
    assert set(Message.objects.exclude(subject="").values_list("subject", "kind")) == {("Line one", "statusreport")}
    assert '"message_id": "m1"' in first["context_json"] and first["round_id"] == str(Round.objects.get().pk)
    assert (second["body"], second["to_agent"]) == ("All of you", None)
    (answer,) = ada("inbox_pull")["messages"]
    assert answer["reply_to"] == first["id"]
    assert Task.objects.get().message_count == 2
    old.change("messages", "m1", is_read=1)
    again = bring(crew, old)
    assert (again.messages, again.tasks, again.already_here) == (0, 0, 3)
    assert len(wim("inbox_pull")["messages"]) == 2


def test_a_lock_is_held_until_it_runs_out(crew: Crew, old: FakeOldHub, ada: Call) -> None:
    held: dict[str, Any] = {"holder_agent_id": "wim", "resource_id": "main"}
    old.add("locks", lock_key="main", expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat(), **held)
    old.add("locks", lock_key="gone", expires_at=WHEN, **held)
    told = bring(crew, old)
    assert (told.locks, told.left) == (1, ["locks that ran out: 1"])
    assert Lock.objects.get().fencing_number == 1
    assert ada("lock_acquire", lock_key="main")["error"] == "LOCK_CONFLICT"
    assert bring(crew, old).locks == 0


def test_what_is_over_stays_and_is_counted(crew: Crew, old: FakeOldHub) -> None:
    for number, status in enumerate(("completed", "closed")):
        old.round(old.task(f"T-{number}", status), 1, "completed", "completed")
    told = bring(crew, old)
    assert told.left == ["tasks that are over, with their rounds: 2"] and not Task.objects.exists()


def test_agents_that_are_not_here_are_made(crew: Crew, old: FakeOldHub) -> None:
    old.add("agents", id="codex", name="Codex Desktop", capabilities='["review"]')
    old.task("T-1", "draft", by="codex")
    assert bring(crew, old).agents == 1
    made = Agent.objects.get(name="codex")
    assert made.is_external and made.presence.capabilities == ["review"]


def test_all_or_nothing(crew: Crew, old: FakeOldHub) -> None:
    old.task("T-1", "draft")
    old.task("T-2", "draft", by="bad name")
    with pytest.raises(Invalid, match="bad name"):
        bring(crew, old)
    assert not Task.objects.exists()


def test_the_command_says_what_came_and_what_did_not(
    crew: Crew, old: FakeOldHub, capsys: pytest.CaptureFixture[str]
) -> None:
    old.task("T-1", "draft")
    old.task("T-2", "closed")
    before = old.path.read_bytes()
    call_command("import_agent_hub", str(old.path), project=crew.project.slug)
    said = capsys.readouterr().out
    assert "Taken over: 1 task." in said and "Not taken over: tasks that are over, with their rounds: 1." in said
    assert old.path.read_bytes() == before and list(old.path.parent.iterdir()) == [old.path]
    old.path.write_bytes(b"SQLite format 3\x00" + b"nonsense" * 200)
    with pytest.raises(CommandError, match=r"hub\.db"):
        call_command("import_agent_hub", str(old.path), project=crew.project.slug)
