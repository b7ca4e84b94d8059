"""What a node refuses is said where people look, and a run that its node does not know reaches its end."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agents import reconciler
from agents.models import Agent, Approval, Run, RunEvent
from agents.services.answers import take_answer
from agents.services.approvals import decide_approval
from agents.services.runs import cancel_run, send_input, start_run
from agents.states import State
from audit.models import AuditEvent
from nodes.contract.reasons import Reason
from nodes.models import Command
from tests.factories import make_approval, make_run, node_of


def answer(run: Run, *, accepted: bool = False, code: str = "", message: str = "") -> None:
    command = Command.objects.get(run=run.pk, state=Command.State.PENDING)
    take_answer(command.pk, node_of(run).pk, accepted=accepted, code=code, message=message)
    run.refresh_from_db()


def said(run: Run) -> list[str]:
    events = RunEvent.objects.filter(run=run, type="run.state.changed").order_by("seq")
    return [json.loads(event.payload)["message"] for event in events]


def test_a_refused_input_is_said_to_readers_and_in_the_trail(run: Run) -> None:
    send_input(run, by=SYSTEM, text="More.", input_id="i-1")
    answer(run, code="bad_command", message="This node does not know that.")
    assert said(run) == ["The input i-1 was not taken: This node does not know that."]
    assert AuditEvent.objects.get(name="run.input_refused").data == {"input": "i-1", "code": "bad_command"}
    assert run.state == State.RUNNING


def test_an_input_that_came_after_the_end_is_in_the_trail_and_not_behind_the_ending(run: Run) -> None:
    send_input(run, by=SYSTEM, text="More.")
    Run.objects.update(state=State.SUCCEEDED)
    answer(run, code="run_ended")
    assert said(run) == []
    assert AuditEvent.objects.filter(name="run.input_refused").count() == 1


@pytest.mark.parametrize(("code", "state"), [("expired", "expired"), ("bad_command", "superseded")])
def test_a_refused_decision_no_longer_looks_decided(run: Run, code: str, state: str) -> None:
    approval = make_approval(run)
    decide_approval(approval, by=SYSTEM, option_id="yes")
    answer(run, code=code, message="Too late.")
    approval.refresh_from_db()
    assert (approval.state, approval.resolved_at is not None) == (state, True)
    assert said(run) == ["The answer to “Run make test” was not taken: Too late."]
    assert AuditEvent.objects.filter(name=f"approval.{state}", approval=approval.pk).exists()


def test_a_decision_that_could_not_be_sent_in_time_has_expired(run: Run) -> None:
    approval = make_approval(run)
    decide_approval(approval, by=SYSTEM, option_id="yes")
    reconciler.tick(timezone.now() + timedelta(seconds=601), listening_since=timezone.now() + timedelta(seconds=600))
    assert Approval.objects.get().state == Approval.State.EXPIRED
    command = Command.objects.get()
    assert (command.state, command.code, command.body) == (Command.State.WITHDRAWN, "expired", "")
    assert said(run) == ["The answer to “Run make test” was not taken: Its node could not be reached in time."]


@pytest.mark.parametrize("accepted", [True, False])
def test_cancelling_a_run_that_its_node_does_not_know_ends_it(run: Run, accepted: bool) -> None:
    cancel_run(run, by=SYSTEM)
    answer(run, accepted=accepted, code="unknown_run")
    assert (run.state, run.reason, run.may_reopen) == (State.FAILED, Reason.NODE_LOST_RUN, True)
    assert RunEvent.objects.filter(run=run, type="run.failed").count() == 1


def test_input_for_a_run_that_its_node_does_not_know_ends_it(run: Run) -> None:
    send_input(run, by=SYSTEM, text="More.")
    answer(run, code="unknown_run", message="This node does not know the run.")
    assert (run.state, run.reason) == (State.FAILED, Reason.NODE_LOST_RUN)


def test_a_refused_start_fails_its_run_for_good(agent: Agent) -> None:
    run = start_run(agent, by=SYSTEM, prompt="Go.")
    answer(run, code="outside_safe_paths", message="/etc is not allowed.")
    assert (run.state, run.reason, run.may_reopen) == (State.FAILED, Reason.OUTSIDE_SAFE_PATHS, False)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_body_is_not_kept_once_it_was_answered(run: Run, accepted: bool) -> None:
    send_input(run, by=SYSTEM, text="A secret.", input_id="i-1")
    assert "A secret." in Command.objects.get().body
    answer(run, accepted=accepted, code="" if accepted else "bad_command")
    command = Command.objects.get()
    assert (command.kind, command.key, command.body) == ("send_input", "i-1", "") and len(command.digest) == 64


def test_the_prompt_of_a_withdrawn_start_is_not_kept(agent: Agent) -> None:
    cancel_run(start_run(agent, by=SYSTEM, prompt="A secret."), by=SYSTEM)
    assert (Command.objects.get().state, Command.objects.get().body) == (Command.State.WITHDRAWN, "")


def test_an_answer_from_another_node_or_to_nothing_changes_nothing(run: Run, agent: Agent) -> None:
    cancel_run(run, by=SYSTEM)
    command = Command.objects.get()
    take_answer(command.pk, make_run(agent=agent).pk, accepted=False, code="unknown_run", message="")
    take_answer(run.pk, node_of(run).pk, accepted=False, code="unknown_run", message="")
    run.refresh_from_db()
    assert run.state == State.STOPPING
