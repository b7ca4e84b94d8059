"""F6: a node is deleted, disabled or never comes back; its runs reach a bounded, explained end, and block no queue.

The waits are hours and days, so the clock is injected.
"""

from datetime import datetime, timedelta

import pytest
from django.db.models import ProtectedError
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agents import reconciler, scheduler
from agents.models import Agent, Approval, Run, RunEvent
from agents.queries import waiting_for
from agents.reconciler import on_hello
from agents.services.runs import cancel_run, send_input, start_run
from agents.states import State
from audit.models import AuditEvent
from nodes.contract.commands import CancelRun
from nodes.contract.events import MessageDelta, RunCancelled, RunCompleted, RunFailed, StateChanged
from nodes.contract.limits import CANCEL_SILENT_SECONDS, DISABLED_GONE_SECONDS, NODE_GONE_SECONDS, SILENT_SECONDS
from nodes.contract.reasons import Reason
from nodes.leases import claim_lease
from nodes.models import Command, Node
from nodes.outbox import take_commands
from tests.agents.records import commit
from tests.factories import make_agent, make_approval, make_node, make_run, node_of

LISTENED = timedelta(minutes=5)
ENDINGS = ["run.completed", "run.failed", "run.cancelled"]


def later(seconds: float) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


def after_silence() -> None:
    """Long enough for runs to become lost."""
    reconciler.tick(later(120))


def types_of(run: Run) -> list[str]:
    return list(RunEvent.objects.filter(run=run).order_by("seq").values_list("type", flat=True))


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


@pytest.fixture
def gone(run: Run) -> Run:
    """A run that was under way when its node went silent, and that the hub has given up after three days."""
    after_silence()
    reconciler.tick(later(NODE_GONE_SECONDS + 200))
    return fresh(run)


def test_a_run_of_a_node_that_never_comes_back_ends_in_time_and_says_why(run: Run) -> None:
    after_silence()
    reconciler.tick(later(NODE_GONE_SECONDS - 60))
    assert fresh(run).state == State.LOST and "silent" in waiting_for(fresh(run))
    reconciler.tick(later(NODE_GONE_SECONDS + 200))
    ended = fresh(run)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NODE_GONE)
    assert "oslo has not been heard since" in ended.message and ended.ended_at
    assert types_of(run) == ["run.state.changed", "run.failed"]
    assert AuditEvent.objects.filter(name="run.failed", run=run.pk).exists()


def test_a_run_ends_once_however_often_the_reconciler_looks(gone: Run) -> None:
    for _ in range(3):
        assert reconciler.tick(later(2 * NODE_GONE_SECONDS)) == 0
    assert [type_ for type_ in types_of(gone) if type_ in ENDINGS] == ["run.failed"]


def test_a_node_that_was_disabled_as_well_is_given_up_sooner(run: Run) -> None:
    after_silence()
    reconciler.tick(later(DISABLED_GONE_SECONDS + 200))
    assert fresh(run).state == State.LOST
    Node.objects.update(is_enabled=False)
    reconciler.tick(later(DISABLED_GONE_SECONDS + 200))
    assert (fresh(run).state, fresh(run).reason) == (State.FAILED, Reason.NODE_GONE)
    assert "disabled" in fresh(run).message


def test_a_disabled_node_that_is_heard_keeps_its_runs(run: Run) -> None:
    Node.objects.update(is_enabled=False, last_heard_at=later(DISABLED_GONE_SECONDS + 200))
    reconciler.tick(later(DISABLED_GONE_SECONDS + 200))
    assert fresh(run).state == State.RUNNING


def test_a_node_with_runs_cannot_be_deleted_from_under_them(run: Run) -> None:
    with pytest.raises(ProtectedError):
        node_of(run).delete()


def test_cancelling_a_lost_run_ends_it_in_minutes(run: Run) -> None:
    after_silence()
    cancel_run(fresh(run), by=SYSTEM)
    reconciler.tick(later(CANCEL_SILENT_SECONDS - 60))
    assert fresh(run).state == State.LOST
    reconciler.tick(later(CANCEL_SILENT_SECONDS + 60))
    ended = fresh(run)
    assert (ended.state, ended.reason) == (State.CANCELLED, Reason.NODE_GONE)
    assert ended.message.startswith("Cancelled.") and types_of(run)[-1] == "run.cancelled"


def test_a_run_that_was_cancelled_before_its_node_fell_silent_ends_as_well(run: Run) -> None:
    cancel_run(run, by=SYSTEM)
    after_silence()
    reconciler.tick(later(CANCEL_SILENT_SECONDS + 60))
    assert fresh(run).state == State.CANCELLED


def test_the_cancel_still_reaches_a_node_that_comes_back(run: Run) -> None:
    after_silence()
    cancel_run(fresh(run), by=SYSTEM)
    reconciler.tick(later(CANCEL_SILENT_SECONDS + 60))
    on_hello(node_of(run).pk, {run.pk: True})
    assert (fresh(run).state, fresh(run).reason) == (State.STOPPING, Reason.CANCEL_REQUESTED)
    lease = claim_lease(node_of(run).pk, "hub-a")
    assert lease and [command.kind for command in take_commands(lease, set())] == [CancelRun.KIND]
    commit(run, RunCancelled(message="Stopped."))
    assert (fresh(run).state, fresh(run).message) == (State.CANCELLED, "Stopped.")


def test_what_was_never_sent_ends_too_and_never_starts(agent: Agent, lima: Node) -> None:
    placed = start_run(agent, by=SYSTEM, prompt="Go.")
    queued = start_run(make_agent("far", node=lima), by=SYSTEM, prompt="Go.")
    reconciler.tick(later(NODE_GONE_SECONDS - 60))
    assert [fresh(placed).state, fresh(queued).state] == [State.STARTING, State.QUEUED]
    reconciler.tick(later(NODE_GONE_SECONDS + 60))
    for run in (fresh(placed), fresh(queued)):
        assert (run.state, run.reason) == (State.FAILED, Reason.NODE_GONE)
        assert "never started" in run.message and not run.may_reopen
    assert Command.objects.get().state == Command.State.WITHDRAWN


def test_a_start_that_was_sent_and_never_answered_is_not_sent_days_later(agent: Agent) -> None:
    run = start_run(agent, by=SYSTEM, prompt="Go.")
    lease = claim_lease(node_of(agent).pk, "hub-a")
    assert lease and take_commands(lease, set())
    after_silence()
    reconciler.tick(later(NODE_GONE_SECONDS + 200))
    assert fresh(run).state == State.FAILED
    assert take_commands(lease, set()) == [] and Command.objects.get().body == ""


def test_runs_of_a_node_that_is_gone_hold_up_nobody(gone: Run) -> None:
    make_run(agent=make_agent("far", node=make_node("lima", capacity=1)), state=State.LOST, lost_at=timezone.now())
    near = start_run(make_agent("near", node=make_node("rome")), by=SYSTEM, prompt="Go.")
    assert near.state == State.STARTING
    Node.objects.filter(pk=node_of(gone).pk).update(capacity=1, last_heard_at=timezone.now())
    again = make_run(agent=gone.agent, state=State.QUEUED)
    scheduler.tick(timezone.now())
    assert fresh(again).state == State.STARTING  # what was given up takes no place


def test_a_hub_that_has_just_started_judges_no_node(run: Run) -> None:
    Node.objects.update(last_heard_at=timezone.now() - timedelta(days=9))
    now = timezone.now()
    assert reconciler.tick(now, listening_since=now - timedelta(seconds=SILENT_SECONDS)) == 0
    assert reconciler.tick(now, listening_since=now - LISTENED) == 1
    assert fresh(run).state == State.LOST  # and three more days until its end


def test_a_run_that_its_node_still_holds_alive_goes_on(gone: Run) -> None:
    on_hello(node_of(gone).pk, {gone.pk: True})
    back = fresh(gone)
    assert (back.state, back.reason, back.ended_at) == (State.RUNNING, Reason.NONE, None)
    commit(gone, MessageDelta(message_id="m", text="hi"), RunCompleted())
    assert fresh(gone).state == State.SUCCEEDED
    assert types_of(gone)[1:] == [
        "run.failed", "run.state.changed", "run.state.changed", "run.message.delta", "run.completed",
    ]  # fmt: skip


def test_records_that_come_after_the_hubs_own_ending_are_kept_and_tell_the_truth(gone: Run) -> None:
    acked = commit(gone, MessageDelta(message_id="m", text="hi"), RunCompleted())
    assert (acked.origin_seq, acked.refused) == (2, "")
    ended = fresh(gone)
    assert (ended.state, ended.reason, ended.may_reopen) == (State.SUCCEEDED, Reason.FINISHED, False)
    assert types_of(gone)[1:] == ["run.failed", "run.state.changed", "run.message.delta", "run.completed"]
    assert [event.seq for event in RunEvent.objects.filter(run=gone).order_by("seq")] == list(range(1, 6))
    assert AuditEvent.objects.filter(name="run.reopened", run=gone.pk).count() == 1


def test_a_repeat_of_what_the_hub_has_is_no_evidence(run: Run) -> None:
    commit(run, MessageDelta(message_id="m", text="hi"))
    after_silence()
    reconciler.tick(later(NODE_GONE_SECONDS + 200))
    acked = commit(run, MessageDelta(message_id="m", text="hi"))
    assert (fresh(run).state, acked.refused) == (State.FAILED, "")
    assert fresh(run).may_reopen


def test_what_was_asked_is_open_again_when_the_run_is(run: Run) -> None:
    long = later(2 * NODE_GONE_SECONDS)
    open_ = make_approval(run, expires_at=long)
    answered = make_approval(run, expires_at=long, state="decided", decided_at=timezone.now())
    after_silence()
    reconciler.tick(later(NODE_GONE_SECONDS + 200))
    assert set(Approval.objects.values_list("state", flat=True)) == {"superseded"}
    on_hello(node_of(run).pk, {run.pk: True})
    assert fresh(run).state == State.WAITING
    assert [Approval.objects.get(pk=a.pk).state for a in (open_, answered)] == ["pending", "decided"]


def test_a_run_reopens_once_and_its_second_ending_stands(gone: Run) -> None:
    on_hello(node_of(gone).pk, {gone.pk: True})
    after_silence()
    reconciler.tick(later(NODE_GONE_SECONDS + 200))
    told = len(types_of(gone))
    on_hello(node_of(gone).pk, {gone.pk: True})
    assert fresh(gone).state == State.FAILED
    assert Command.objects.get(kind=CancelRun.KIND).state == Command.State.PENDING  # the node is told to stop it
    acked = commit(gone, StateChanged(state="running"), RunFailed(reason="internal"))
    assert (acked.refused, len(types_of(gone))) == ("run_ended", told)
    assert AuditEvent.objects.get(name="run.records_refused").data == {"records": 2}


def test_an_ending_that_the_node_itself_gave_stays(run: Run) -> None:
    commit(run, RunCompleted())
    commit(run, MessageDelta(message_id="m", text="late"), first=2)
    on_hello(node_of(run).pk, {run.pk: True})
    assert (fresh(run).state, types_of(run)) == (State.SUCCEEDED, ["run.completed"])


def test_input_that_waits_for_a_node_that_is_gone_is_not_kept(run: Run) -> None:
    send_input(run, by=SYSTEM, text="A secret.")
    after_silence()
    reconciler.tick(later(NODE_GONE_SECONDS + 200))
    command = Command.objects.get()
    assert (command.state, command.code, command.body) == (Command.State.WITHDRAWN, "run_ended", "")
