"""Every rule of the tools that came from agent-hub-mcp, and of its defects that are not to come back (B1 to B20)."""

import inspect
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Actor
from agenthub_site.accounts.models import Project, User
from agents.coordination.models import Assignment, Lock, Round, Task
from agents.coordination.services import assignments
from agents.coordination.services.rounds import Planned, approve_round, reject_round, submit_plan
from agents.coordination.services.tasks import close_task, create_task
from agents.services.agents import archive_agent
from agents.webhooks.models import Webhook
from audit.models import AuditEvent
from integrations.mcp.parsing import read_plan
from integrations.mcp.server import _guarded
from integrations.mcp.tool import all_tools
from mailboxes import services as mail
from mailboxes.models import Message
from mailboxes.services import Address, inbox, send
from nodes.contract import own_tools
from nodes.contract.errors import Invalid
from tests.coordination.conftest import Crew

from .conftest import Call, at_once, call


def plan(*goals: tuple[str | None, str]) -> str:
    return json.dumps({"assignments": [{"agent_id": agent, "goal": goal} for agent, goal in goals]})


def planned(ada: Call, *agents: str | None, task_id: str = "T") -> dict[str, Any]:
    assert ada("task_draft_create", task_id=task_id, title="Mend the nets")["ok"]
    return ada("round_plan_submit", task_id=task_id, plan_json=plan(*((agent, "Mend") for agent in agents or ("wim",))))


def approved(crew: Crew, ada: Call, *agents: str | None, task_id: str = "T") -> list[str]:
    """Ids of the assignments of an approved round."""
    made = planned(ada, *agents, task_id=task_id)
    approve_round(Round.objects.get(pk=made["round_id"]), by=crew.operator)
    return [item["id"] for item in ada("assignment_list", round_id=made["round_id"])["assignments"]]


SIXTEEN = {
    "hub_status": [],
    "agent_register": ["name", "capabilities"],
    "agent_heartbeat": [],
    "inbox_pull": ["limit"],
    "message_send": ["to_agent", "subject", "body", "msg_type", "dedupe_key", "round_id", "reply_to"],
    "message_ack": ["message_id"],
    "task_draft_create": ["task_id", "title", "description"],
    "round_plan_submit": ["task_id", "plan_json"],
    "assignment_list": ["round_id"],
    "assignment_claim": ["assignment_id"],
    "assignment_progress": ["assignment_id", "status", "note"],
    "assignment_complete": ["assignment_id", "handoff_json"],
    "handoff_get": ["handoff_id"],
    "review_submit": ["round_id", "verdict", "note"],
    "lock_acquire": ["lock_key", "resource_type", "resource_id", "ttl_seconds", "fencing_number"],
    "lock_release": ["lock_key", "fencing_number"],
}


def test_the_sixteen_tools_have_their_names_and_parameters() -> None:
    told = {tool.name: list(tool.schema["properties"]) for tool in all_tools()}
    assert {name: told[name] for name in SIXTEEN} == SIXTEEN
    assert SIXTEEN.keys() == own_tools.TOOLS


def test_every_tool_has_a_description_and_every_schema_refuses_the_unknown() -> None:
    for tool in all_tools():
        assert len(tool.description) > 20 and tool.schema["additionalProperties"] is False


def test_every_tool_is_a_coroutine_and_keeps_the_loop_free() -> None:
    """B5: they were plain functions on the loop, and one that waited for the database held up all."""
    assert all(inspect.iscoroutinefunction(tool.answer) for tool in all_tools())


def test_hub_status_says_version_and_transport(ada: Call) -> None:
    told = ada("hub_status")
    assert told["transport"] == "streamable-http" and told["version"]


def test_registering_keeps_name_and_capabilities_and_is_optional(ada: Call) -> None:
    assert ada("agent_heartbeat") == {"ok": True}
    told = ada("agent_register", name="Ada", capabilities='["plans"]')
    assert told == {"ok": True, "agent_id": "ada", "name": "Ada"}
    assert ada("agent_register", name="Ada", capabilities="{")["error"] == "INVALID"
    assert ada("agent_register", name="", capabilities="[]")["error"] == "INVALID"
    assert ada("agent_register", name="Ada", capabilities="[1]")["error"] == "INVALID"
    for many in (["x"] * 51, ["x" * 65]):
        assert ada("agent_register", name="Ada", capabilities=json.dumps(many))["error"] == "INVALID"
    assert ada("agent_register", name="Ada", capabilities=json.dumps(["x" * 64] * 50))["ok"]
    assert AuditEvent.objects.filter(name="agent.registered").last().data["capabilities"] == 50  # type: ignore[union-attr]


# Messages.


def test_a_message_waits_unread_until_its_ack_and_an_ack_may_come_twice(ada: Call, wim: Call) -> None:
    sent = wim("message_send", to_agent="ada", subject="Hello", body="Come.")["message_id"]
    for _ in range(2):
        (row,) = ada("inbox_pull")["messages"]
    assert (row["id"], row["from_agent"], row["to_agent"], row["body"]) == (sent, "wim", "ada", "Come.")
    assert set(row) == {
        "id", "dedupe_key", "reply_to", "from_agent", "to_agent", "round_id", "msg_type", "subject", "body",
        "context_json", "hop_count", "is_read", "created_at",
    }  # fmt: skip
    assert wim("message_ack", message_id=sent)["error"] == "NOT_FOUND"  # only its addressee
    assert ada("message_ack", message_id=sent) == {"ok": True, "changed": True}
    assert ada("message_ack", message_id=sent) == {"ok": True, "changed": False}
    assert ada("inbox_pull")["messages"] == []


@pytest.mark.parametrize("how", [{}, {"to_agent": None}])
def test_a_broadcast_reaches_every_other_agent_and_each_reads_it_alone(
    ada: Call, wim: Call, zoe: Call, how: dict[str, Any]
) -> None:
    sent = ada("message_send", subject="All", body="Storm.", **how)["message_id"]
    assert ada("inbox_pull")["messages"] == []
    assert wim("message_ack", message_id=sent)["changed"]
    (row,) = zoe("inbox_pull")["messages"]
    assert (row["id"], row["to_agent"]) == (sent, None)


def test_an_empty_recipient_is_refused_and_reaches_nobody(ada: Call, wim: Call) -> None:
    refused = ada("message_send", to_agent="", subject="x", body="y")
    assert (refused["error"], "leave it out to write to all" in refused["message"]) == ("INVALID", True)
    assert wim("inbox_pull")["messages"] == []


def test_a_person_who_wrote_is_answered_by_the_word_that_was_told(crew: Crew, ada: Call, bob: User) -> None:
    me, them = Address.of("agent", crew.ada.id), Address.of("user", bob.pk)
    asked = send(crew.project.pk, them, [me], {"text": "How far is it?"})
    (row,) = ada("inbox_pull")["messages"]
    assert row["from_agent"] == "user:bob"
    sent = ada("message_send", to_agent="user:bob", subject="Re", body="Done.", reply_to=str(asked.message_id))
    (got,) = inbox(them).results
    assert (str(got.message_id), got.payload["body"]) == (sent["message_id"], "Done.")


def test_a_person_or_webhook_elsewhere_is_not_found(crew: Crew, ada: Call, eve: Actor) -> None:
    for word in ("user:erik", "user:nobody", "webhook:builds", "agent:eve", "user:"):
        assert ada("message_send", to_agent=word, subject="x", body="y")["error"] == "NOT_FOUND"
    Webhook.objects.create(project=crew.project, name="builds", url="https://example.org/")
    assert ada("message_send", to_agent="webhook:builds", subject="x", body="y")["ok"]


def test_a_message_without_a_key_is_told_under_its_own_id(ada: Call, wim: Call) -> None:
    """As agent-hub-mcp had it."""
    sent = wim("message_send", to_agent="ada", subject="x", body="y")["message_id"]
    wim("message_send", to_agent="ada", subject="x", body="y", dedupe_key="k")
    assert [row["dedupe_key"] for row in ada("inbox_pull")["messages"]] == [sent, "k"]


def test_a_repeat_is_the_same_message_though_its_recipients_are_gone(crew: Crew, ada: Call) -> None:
    one: dict[str, Any] = {"to_agent": "wim", "subject": "x", "body": "y", "dedupe_key": "one"}
    all_: dict[str, Any] = {"subject": "x", "body": "y", "dedupe_key": "all"}
    first, everybody = ada("message_send", **one), ada("message_send", **all_)
    for name in ("wim", "zoe"):
        archive_agent(crew.agent(name), by=SYSTEM)
    assert ada("message_send", **one) == first
    assert ada("message_send", **all_) == everybody
    assert ada("message_send", **{**one, "body": "z"})["error"] == "DUPLICATE_MESSAGE"
    assert ada("message_send", **{**one, "to_agent": "zoe"})["error"] == "DUPLICATE_MESSAGE"
    assert ada("message_send", **{**one, "dedupe_key": "new"})["error"] == "NOT_FOUND"
    assert Message.objects.filter(sender_id=crew.ada.id).count() == 2


def test_a_dedupe_key_is_the_same_message_again_and_its_senders_own(ada: Call, wim: Call, zoe: Call) -> None:
    first = wim("message_send", to_agent="ada", subject="x", body="y", dedupe_key="k")
    assert wim("message_send", to_agent="ada", subject="x", body="y", dedupe_key="k") == first
    assert wim("message_send", to_agent="ada", subject="x", body="z", dedupe_key="k")["error"] == "DUPLICATE_MESSAGE"
    assert zoe("message_send", to_agent="ada", subject="x", body="y", dedupe_key="k")["ok"]
    assert len(ada("inbox_pull")["messages"]) == 2


def test_messages_of_a_task_are_limited_over_its_rounds(crew: Crew, ada: Call, wim: Call) -> None:
    crew.limit(max_messages_per_task=2)
    round_id = planned(ada)["round_id"]
    about: dict[str, Any] = {"to_agent": "ada", "subject": "x", "round_id": round_id}
    assert wim("message_send", body="1", dedupe_key="k", **about)["ok"]
    assert wim("message_send", body="1", dedupe_key="k", **about)["ok"]  # the same message is not counted again
    reject_round(Round.objects.get(), by=crew.operator)
    again = ada("round_plan_submit", task_id="T", plan_json=plan(("wim", "Mend")))
    assert wim("message_send", body="2", **{**about, "round_id": again["round_id"]})["ok"]
    assert wim("message_send", body="3", **about)["error"] == "MESSAGE_LIMIT_REACHED"
    assert [row["from_agent"] for row in ada("inbox_pull")["messages"]] == ["wim", "AgentHub", "wim"]
    assert wim("message_send", to_agent="ada", subject="x", body="of no task")["ok"]


def test_an_answer_counts_as_the_message_about_a_round_that_it_answers(crew: Crew, ada: Call, wim: Call) -> None:
    crew.limit(max_messages_per_task=2)
    round_id = planned(ada)["round_id"]
    last = wim("message_send", to_agent="ada", subject="x", body="?", round_id=round_id)["message_id"]
    last = ada("message_send", to_agent="wim", subject="x", body="!", reply_to=last)["message_id"]
    (row,) = wim("inbox_pull")["messages"]
    assert (row["id"], row["round_id"]) == (last, round_id)
    again = wim("message_send", to_agent="ada", subject="x", body="?!", reply_to=last)
    assert again["error"] == "MESSAGE_LIMIT_REACHED"


def test_a_round_that_another_door_made_up_is_not_told_as_one(crew: Crew, ada: Call, eve: Actor) -> None:
    theirs = create_task(Project.objects.get(slug="island"), by=eve, key="T-9", title="x")
    planned_there = submit_plan(theirs, [Planned("x")], by=eve)
    for said in ("nonsense", str(planned_there.pk), str(theirs.pk), 5, {"x": 1}):
        send(crew.project.pk, Address.of("agent", crew.wim.id), [Address.of("agent", crew.ada.id)], {"round_id": said})
    sent = ada("inbox_pull")["messages"]
    assert [row["round_id"] for row in sent] == [None] * 5
    answer = ada("message_send", to_agent="wim", subject="x", body="y", reply_to=sent[1]["id"])
    assert "round_id" not in json.loads(Message.objects.get(pk=answer["message_id"]).payload)


def test_replies_are_limited_by_their_hops(crew: Crew, ada: Call, wim: Call) -> None:
    crew.limit(max_hop_count=1)
    first = ada("message_send", to_agent="wim", subject="x", body="?")["message_id"]
    answer = wim("message_send", to_agent="ada", subject="x", body="!", reply_to=first)["message_id"]
    (row,) = ada("inbox_pull")["messages"]
    assert (row["hop_count"], row["reply_to"]) == (1, first)
    assert ada("message_send", to_agent="wim", subject="x", body="?", reply_to=answer)["error"] == "HOP_LIMIT"


@pytest.mark.parametrize("wrong", ["to_agent", "round_id", "reply_to"])
def test_an_unknown_agent_round_or_message_is_said_to_be_unknown(ada: Call, wrong: str) -> None:
    """B18: they were told as duplicates."""
    given = {"to_agent": "wim", "subject": "x", "body": "y", wrong: "0199a3a2-0000-7000-8000-000000000000"}
    assert ada("message_send", **given)["error"] in ("NOT_FOUND", "ROUND_NOT_FOUND")


def test_a_long_inbox_is_told_in_parts(ada: Call, wim: Call) -> None:
    """A body of 600 kB used to block the inbox for good; now bodies and answers are bounded."""
    assert wim("message_send", to_agent="ada", subject="x", body="y" * 600_000)["error"] == "PAYLOAD_TOO_LARGE"
    for number in range(8):
        assert wim("message_send", to_agent="ada", subject=str(number), body="y" * 60_000)["ok"]
    told = ada("inbox_pull", limit=500)
    assert (len(told["messages"]), told["has_more"]) == (6, True)
    assert ada("inbox_pull", limit=3)["has_more"] is True


def test_what_came_by_another_door_is_readable(crew: Crew, ada: Call) -> None:
    to = [mail.Address("agent", crew.ada.id)]
    mail.send(crew.project.pk, mail.Address("user", crew.operator.id), to, {"text": "hi", "n": 1})
    (row,) = ada("inbox_pull")["messages"]
    assert (row["from_agent"], json.loads(row["body"])) == ("user:bob", {"text": "hi", "n": 1})


# Tasks, rounds, assignments.


def test_the_dispatcher_sees_its_whole_round_and_workers_their_own(crew: Crew, ada: Call, wim: Call, zoe: Call) -> None:
    ids = approved(crew, ada, "wim", "zoe", None)
    assert [item["id"] for item in wim("assignment_list")["assignments"]] == [ids[0], ids[2]]
    assert len(zoe("assignment_list")["assignments"]) == 2
    assert ada("assignment_list")["assignments"][0]["id"] == ids[2]
    assert set(wim("assignment_list")["assignments"][0]) == {
        "id", "round_id", "task_id", "agent_id", "goal", "status", "claimed_at", "started_at", "completed_at",
        "lease_expires_at", "progress_note", "result_summary", "handoff_id", "created_at", "updated_at",
    }  # fmt: skip


def test_a_long_list_of_assignments_is_told_in_parts(crew: Crew, ada: Call) -> None:
    crew.limit(max_assignments_per_round=50)
    planned = [Planned("g" * 16_000)] * 50
    round_ = submit_plan(crew.draft(), planned, by=crew.ada)
    told = ada("assignment_list", round_id=str(round_.pk))
    assert (len(told["assignments"]), told["has_more"]) == (23, True)


def test_a_plans_agents_are_looked_up_at_once_and_bounded(
    ada: Call, crew: Crew, django_assert_num_queries: Any
) -> None:
    wim = crew.agent("wim")
    with django_assert_num_queries(1):
        planned = read_plan(crew.project.pk, plan(*[("wim", "x"), ("zoe", "y"), (str(wim.pk), "z"), (None, "w")] * 25))
    assert [item.agent and item.agent.name for item in planned[:4]] == ["wim", "zoe", "wim", None]
    with django_assert_num_queries(0), pytest.raises(Invalid):
        read_plan(crew.project.pk, plan(*[("wim", "x")] * 101))


def test_a_failed_plan_leaves_nothing_behind_and_may_be_repeated(ada: Call) -> None:
    """B7: the second entry was bad, and the task stuck for ever."""
    ada("task_draft_create", task_id="T", title="x")
    bad = plan(("wim", "Good"), ("nobody", "Bad"))
    assert ada("round_plan_submit", task_id="T", plan_json=bad)["error"] == "INVALID"
    assert (Round.objects.count(), Task.objects.get().state) == (0, "draft")
    assert ada("round_plan_submit", task_id="T", plan_json=plan(("wim", "Good")))["ok"]


def test_a_refused_call_keeps_nobody_from_writing(ada: Call, wim: Call) -> None:
    """B5, B6: a refusal left the write lock with whoever was refused."""
    for _ in range(3):
        ada("task_draft_create", task_id="T", title="x")
        assert wim("task_draft_create", task_id="T", title="y")["error"] == "TASK_EXISTS"
        assert wim("lock_release", lock_key="none")["error"] == "LOCK_NOT_HELD"
    assert wim("lock_acquire", lock_key="any")["ok"]


def test_the_gate_is_not_gone_around(ada: Call, wim: Call) -> None:
    """B9."""
    planned(ada)
    (item,) = wim("assignment_list")["assignments"]
    for tool, more in (
        ("assignment_claim", {}),
        ("assignment_progress", {"status": "in_progress"}),
        ("assignment_complete", {"handoff_json": "{}"}),
    ):
        assert wim(tool, assignment_id=item["id"], **more)["error"] == "ROUND_NOT_APPROVED"


def test_a_rejected_plan_is_submitted_again(crew: Crew, ada: Call) -> None:
    """B11."""
    made = planned(ada)
    reject_round(Round.objects.get(pk=made["round_id"]), by=crew.operator)
    again = ada("round_plan_submit", task_id="T", plan_json=plan(("zoe", "Otherwise")))
    assert (again["round_number"], again["status"]) == (2, "awaiting_operator_approval")


def test_changes_requested_is_planned_anew_and_only_after_the_work(crew: Crew, ada: Call, wim: Call) -> None:
    """B12, B13."""
    (item,) = approved(crew, ada)
    round_id = str(Round.objects.get().pk)
    ask: dict[str, Any] = {"round_id": round_id, "verdict": "changes_requested", "note": "Tighter."}
    assert ada("review_submit", **ask)["error"] == "ROUND_NOT_REVIEWABLE"
    wim("assignment_claim", assignment_id=item)
    wim("assignment_complete", assignment_id=item, handoff_json="{}")
    assert ada("review_submit", **ask) == {"ok": True, "status": "changes_requested", "round_id": round_id}
    assert ada("review_submit", round_id=round_id, verdict="approved")["error"] == "ROUND_NOT_REVIEWABLE"
    again = ada("round_plan_submit", task_id="T", plan_json=plan(("zoe", "Something new")))
    assert again["round_number"] == 2


def test_auto_create_next_round_means_what_it_says(crew: Crew, ada: Call, wim: Call) -> None:
    """B12: true refused, false created."""
    crew.limit(auto_create_next_round=True)
    (item,) = approved(crew, ada)
    wim("assignment_claim", assignment_id=item)
    wim("assignment_complete", assignment_id=item, handoff_json="{}")
    told = ada("review_submit", round_id=str(Round.objects.get().pk), verdict="changes_requested")
    assert (told["status"], told["round_number"]) == ("awaiting_operator_approval", 2)
    assert told["round_id"] == str(Round.objects.get(number=2).pk)


def test_a_closed_task_is_over_for_all(crew: Crew, ada: Call, wim: Call) -> None:
    """B14."""
    (item,) = approved(crew, ada)
    close_task(Task.objects.get(), by=crew.operator)
    assert wim("assignment_claim", assignment_id=item)["error"] == "ROUND_NOT_APPROVED"
    assert Assignment.objects.get().state == "cancelled"


def test_rounds_are_in_progress_once_something_is_claimed(crew: Crew, ada: Call, wim: Call) -> None:
    """B15."""
    (item,) = approved(crew, ada)
    wim("assignment_claim", assignment_id=item)
    assert Round.objects.get().state == "in_progress"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"assignments": []}', "EMPTY_PLAN"),  # B16
        (plan(*[("wim", "x")] * 7), "TOO_MANY_ASSIGNMENTS"),
        (plan(("wim", " ")), "INVALID"),
        ('{"assignments": [{"agent": "wim", "goal": "x"}]}', "INVALID"),
        ('{"assignments": "wim"}', "INVALID"),
        ("[]", "INVALID"),
        ("{", "INVALID"),
        ("[" * 5_000, "INVALID"),
        ('{"assignments":' + "[" * 40 + "]" * 40 + "}", "INVALID"),
        ("x" * 600_000, "TOO_LARGE"),
        ('{"assignments": [{"agent_id": "wim", "goal": "\\ud800"}]}', "INVALID"),
        ('{"assignments": [{"agent_id": "\\udfff", "goal": "x"}]}', "INVALID"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_with_a_code(ada: Call, text: str, code: str) -> None:
    """B16, B19."""
    ada("task_draft_create", task_id="T", title="x")
    assert ada("round_plan_submit", task_id="T", plan_json=text)["error"] == code
    assert Task.objects.get().state == "draft"


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{", '{"branch": 1}', '{"changed_files": {}}', '{"tests_run": [1]}', '{"notes": ["x"]}',
        '{"notes": "\\ud800"}', '{"tests_run": ["\\ud800"]}', '{"changed_files": "[\\"\\\\ud800\\"]"}',
    ],
)  # fmt: skip
def test_a_handoff_that_does_not_fit_is_refused_with_a_code(crew: Crew, ada: Call, wim: Call, text: str) -> None:
    """B19."""
    (item,) = approved(crew, ada)
    wim("assignment_claim", assignment_id=item)
    assert wim("assignment_complete", assignment_id=item, handoff_json=text)["error"] == "INVALID"
    assert Assignment.objects.get().state == "claimed"


@pytest.mark.parametrize("files", [["a.py", "b.py"], '["a.py", "b.py"]', "a.py\nb.py"])
def test_changed_files_may_be_a_list_or_a_text_of_one(crew: Crew, ada: Call, wim: Call, files: Any) -> None:
    """B19: a list crashed."""
    (item,) = approved(crew, ada)
    wim("assignment_claim", assignment_id=item)
    done = wim("assignment_complete", assignment_id=item, handoff_json=json.dumps({"changed_files": files}))
    told = ada("handoff_get", handoff_id=done["assignment"]["handoff_id"])["handoff"]
    assert json.loads(told["changed_files"]) == ["a.py", "b.py"]
    assert ada("handoff_get", handoff_id=item)["handoff"] == told  # by its assignment, too
    assert set(told) == {
        "id", "assignment_id", "from_agent", "branch", "commit_hash", "changed_files", "tests_run", "risks",
        "next_steps", "notes", "created_at",
    }  # fmt: skip


def test_a_stale_holder_does_not_complete_and_the_assignee_claims_again(crew: Crew, ada: Call, wim: Call) -> None:
    """B17."""
    (item,) = approved(crew, ada)
    wim("assignment_claim", assignment_id=item)
    later = timezone.now() + timedelta(minutes=91)
    assignments.tick(later)
    assert wim("assignment_complete", assignment_id=item, handoff_json="{}")["error"] == "LEASE_EXPIRED"
    assert wim("assignment_claim", assignment_id=item)["ok"]
    assert wim("assignment_claim", assignment_id=item)["error"] == "ASSIGNMENT_NOT_PENDING"


def test_lease_minutes_may_be_a_fraction(crew: Crew, ada: Call, wim: Call) -> None:
    crew.limit(lease_minutes=0.5)
    (item,) = approved(crew, ada)
    wim("assignment_claim", assignment_id=item)
    held = Assignment.objects.get()
    assert held.lease_expires_at and held.claimed_at
    assert held.lease_expires_at - held.claimed_at == timedelta(seconds=30)


def test_a_fifth_assignment_at_once_is_refused(crew: Crew, ada: Call, wim: Call) -> None:
    ids = approved(crew, ada, *["wim"] * 5)
    outcomes = [wim("assignment_claim", assignment_id=item).get("error") for item in ids]
    assert outcomes == [None] * 4 + ["ACTIVE_ASSIGNMENT_LIMIT"]


def test_another_agents_assignment_is_not_valid_for_us(crew: Crew, ada: Call, zoe: Call) -> None:
    (item,) = approved(crew, ada)
    assert zoe("assignment_claim", assignment_id=item)["error"] == "ASSIGNMENT_NOT_VALID"
    assert zoe("assignment_claim", assignment_id="nonsense")["error"] == "ASSIGNMENT_NOT_VALID"


@pytest.mark.parametrize(
    ("tool", "given", "code"),
    [
        ("round_plan_submit", {"task_id": "T", "plan_json": "{}"}, "TASK_NOT_FOUND"),
        ("assignment_list", {"round_id": "{round}"}, "ROUND_NOT_FOUND"),
        ("assignment_claim", {"assignment_id": "{assignment}"}, "ASSIGNMENT_NOT_VALID"),
        ("assignment_complete", {"assignment_id": "{assignment}", "handoff_json": "{}"}, "ASSIGNMENT_NOT_VALID"),
        ("review_submit", {"round_id": "{round}", "verdict": "approved"}, "ROUND_NOT_FOUND"),
        ("message_send", {"to_agent": "ada", "subject": "x", "body": "y"}, "NOT_FOUND"),
    ],
)
def test_what_is_another_projects_is_not_found(
    *, crew: Crew, ada: Call, eve: Actor, tool: str, given: dict[str, str], code: str
) -> None:
    (item,) = approved(crew, ada)
    names = {"{round}": str(Round.objects.get().pk), "{assignment}": item}
    assert call(eve, tool, **{key: names.get(value, value) for key, value in given.items()})["error"] == code


# Locks.


def test_a_lock_conflict_says_who_holds_it_and_until_when(wim: Call, zoe: Call) -> None:
    lock = wim("lock_acquire", lock_key="main")["lock"]
    assert set(lock) == {
        "id", "lock_key", "holder_agent_id", "resource_type", "resource_id", "fencing_number", "expires_at",
        "created_at",
    }  # fmt: skip
    told = zoe("lock_acquire", lock_key="main")
    assert (told["error"], told["data"]["holder"]) == ("LOCK_CONFLICT", "wim")
    assert wim("lock_acquire", lock_key="main")["error"] == "LOCK_CONFLICT"
    assert zoe("lock_release", lock_key="main")["error"] == "LOCK_NOT_HELD"


def test_keys_and_ids_may_have_blanks_around_them(ada: Call, wim: Call) -> None:
    assert wim("lock_acquire", lock_key=" main ")["lock"]["lock_key"] == "main"
    assert wim("lock_release", lock_key=" main ")["ok"]
    assert ada("task_draft_create", task_id=" T ", title="Mend the nets")["task_id"] == "T"
    made = ada("round_plan_submit", task_id=" T ", plan_json=plan(("wim", "Mend")))
    assert ada("assignment_list", round_id=f" {made['round_id']} ")["assignments"]


def test_an_expired_lock_is_taken_by_another_under_a_greater_number(wim: Call, zoe: Call) -> None:
    first = wim("lock_acquire", lock_key="main")["lock"]["fencing_number"]
    Lock.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert zoe("lock_acquire", lock_key="main")["lock"]["fencing_number"] > first
    assert wim("lock_release", lock_key="main")["error"] == "LOCK_NOT_HELD"


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("task_draft_create", {"task_id": "", "title": "x"}),
        ("task_draft_create", {"task_id": "x", "title": ""}),
        ("agent_register", {"name": ""}),
        ("lock_acquire", {"lock_key": ""}),
        ("lock_acquire", {"lock_key": "x", "ttl_seconds": 0}),
        ("lock_acquire", {"lock_key": "x", "ttl_seconds": -5}),
        ("lock_acquire", {"lock_key": "x", "ttl_seconds": "soon"}),
        ("inbox_pull", {"limit": -1}),
        ("inbox_pull", {"limit": 501}),
        ("message_send", {"to_agent": 5, "subject": "x", "body": "y"}),
        ("message_send", {"to_agent": "wim", "subject": "x"}),
        ("assignment_claim", {"assignment_id": "x", "force": True}),
    ],
)
def test_what_does_not_fit_is_refused_with_a_code(ada: Call, tool: str, given: dict[str, Any]) -> None:
    """B20."""
    assert ada(tool, **given)["error"] == "INVALID"


def test_people_have_no_part_in_the_work(crew: Crew) -> None:
    assert call(crew.operator, "assignment_list")["error"] == "AGENTS_ONLY"


def test_what_is_out_of_turn_is_refused_with_its_code(crew: Crew, ada: Call, wim: Call) -> None:
    """B19: plans and handoffs were all refused by one code each."""
    crew.limit(max_rounds=1)
    planned(ada)
    round_id = str(Round.objects.get().pk)
    plan_again: dict[str, Any] = {"task_id": "T", "plan_json": plan(("wim", "Again"))}
    assert ada("round_plan_submit", **plan_again)["error"] == "TASK_NOT_DISPATCHABLE"
    approve_round(Round.objects.get(), by=crew.operator)
    (item,) = wim("assignment_list")["assignments"]
    mine: dict[str, Any] = {"assignment_id": item["id"]}
    assert wim("assignment_complete", handoff_json="{}", **mine)["error"] == "ASSIGNMENT_NOT_ACTIVE"
    assert wim("assignment_progress", status="done", **mine)["error"] == "INVALID_STATUS"
    wim("assignment_claim", **mine)
    assert wim("assignment_complete", handoff_json="{}", **mine)["ok"]
    verdict: dict[str, Any] = {"round_id": round_id, "verdict": "changes_requested"}
    assert wim("review_submit", **verdict)["error"] == "NOT_TASK_DISPATCHER"
    assert ada("review_submit", round_id=round_id, verdict="fine")["error"] == "INVALID_VERDICT"
    assert ada("review_submit", **verdict)["ok"]
    assert wim("round_plan_submit", **plan_again)["error"] == "NOT_TASK_DISPATCHER"
    assert ada("round_plan_submit", **plan_again)["error"] == "MAX_ROUNDS_REACHED"
    assert ada("review_submit", round_id="nonsense", verdict="approved")["error"] == "ROUND_NOT_FOUND"
    assert ada("handoff_get", handoff_id="nonsense")["error"] == "NOT_FOUND"


def test_every_defect_of_the_package_is_named_by_a_test() -> None:
    docstrings = {
        line
        for path in Path(__file__).parents[1].rglob("test_*.py")
        for line in path.read_text("utf-8").splitlines()
        if line.startswith('    """B')
    }
    named = {int(number) for line in docstrings for number in re.findall(r"\bB(\d+)\b", line)}
    assert set(range(1, 21)) <= named


def test_open_assignments_are_listed_first_and_those_of_the_newest_round(crew: Crew, ada: Call, wim: Call) -> None:
    first = approved(crew, ada, "wim", "wim", task_id="A")
    second = approved(crew, ada, "wim", task_id="B")
    assert [item["id"] for item in wim("assignment_list")["assignments"]] == [*second, *first]
    assert wim("assignment_claim", assignment_id=second[0])["ok"]
    assert wim("assignment_complete", assignment_id=second[0], handoff_json="{}")["ok"]
    assert [item["id"] for item in wim("assignment_list")["assignments"]] == [*first, *second]


@pytest.mark.parametrize(
    ("kind", "subject"), [("status-update", "Two\nlines"), ("Question", "x" * 300), ("42", "tab\there"), ("", "")]
)
def test_kinds_and_subjects_are_free_text_and_come_as_they_were_written(
    ada: Call, wim: Call, kind: str, subject: str
) -> None:
    assert ada("message_send", to_agent="wim", subject=subject, body="b", msg_type=kind)["ok"]
    (message,) = wim("inbox_pull")["messages"]
    assert (message["msg_type"], message["subject"], message["context_json"]) == (kind, subject, "{}")


def test_an_inbox_says_that_there_is_more(ada: Call, wim: Call) -> None:
    for number in range(3):
        ada("message_send", to_agent="wim", subject=str(number), body="b")
    assert wim("inbox_pull", limit=2)["has_more"] is True
    assert "has_more" not in wim("inbox_pull", limit=3)


def test_what_the_database_takes_for_no_value_is_a_wrong_value_and_no_failing_database() -> None:
    """PostgreSQL takes no U+0000 in a text, and says so as an error of its own."""

    async def fails() -> dict[str, Any]:
        raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")

    with pytest.raises(Invalid):
        at_once(_guarded("lock_release", fails()))
