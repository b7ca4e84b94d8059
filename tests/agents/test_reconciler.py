import json
from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agents.models import Agent, Run, RunEvent
from agents.queries import waiting_for
from agents.reconciler import on_hello, tick
from agents.services import losses
from agents.services.losses import end_gone_run, mark_lost
from agents.services.placing import lock_node
from agents.services.runs import cancel_run
from agents.states import State
from nodes.contract.commands import CancelRun
from nodes.contract.limits import DISABLED_GONE_SECONDS, LOST_GRACE_SECONDS, NODE_GONE_SECONDS, SILENT_SECONDS
from nodes.contract.reasons import Reason
from nodes.models import Command, Node
from nodes.outbox import queue_command
from tests.factories import make_agent, make_approval, make_node, make_run, node_of

BEYOND_GRACE = timedelta(seconds=SILENT_SECONDS + LOST_GRACE_SECONDS + 1)


def silence(node: Node, for_: timedelta) -> None:
    Node.objects.filter(pk=node.pk).update(last_heard_at=timezone.now() - for_)


def test_runs_of_a_silent_node_become_lost_after_the_grace_and_not_before(run: Run) -> None:
    silence(node_of(run), timedelta(seconds=SILENT_SECONDS + 5))
    assert tick(timezone.now()) == 0
    silence(node_of(run), BEYOND_GRACE)
    assert tick(timezone.now()) == 1
    run.refresh_from_db()
    assert (run.state, run.reason, run.lost_at is not None) == (State.LOST, Reason.NODE_SILENT, True)


def test_a_run_whose_start_was_never_sent_waits_and_is_not_lost(agent: Agent) -> None:
    run = make_run(agent=agent, state=State.STARTING)
    Command.objects.create(node=node_of(agent), run=run.pk, kind="start_run", body="{}")
    silence(node_of(agent), BEYOND_GRACE)
    assert tick(timezone.now()) == 0


@pytest.mark.parametrize(("open_question", "state"), [(False, State.RUNNING), (True, State.WAITING)])
def test_a_lost_run_that_its_node_still_holds_is_found(agent: Agent, open_question: bool, state: State) -> None:
    run = make_run(agent=agent, state=State.LOST)
    if open_question:
        make_approval(run)
    on_hello(node_of(agent).pk, {run.pk: True})
    run.refresh_from_db()
    assert run.state == state


def test_a_run_that_its_node_no_longer_knows_ends_with_the_reason(run: Run) -> None:
    on_hello(node_of(run).pk, {})
    run.refresh_from_db()
    assert (run.state, run.reason) == (State.FAILED, Reason.NODE_LOST_RUN)
    assert RunEvent.objects.get(run=run).type == "run.failed"


def test_an_unanswered_start_is_unknown_and_not_lost(agent: Agent) -> None:
    run = make_run(agent=agent, state=State.STARTING)
    Command.objects.create(node=node_of(agent), run=run.pk, kind="start_run", body="{}", first_sent_at=timezone.now())
    on_hello(node_of(agent).pk, {})
    run.refresh_from_db()
    assert run.state == State.STARTING


def test_an_ended_run_in_the_nodes_list_stays_as_it_is_until_its_records_come(run: Run) -> None:
    on_hello(node_of(run).pk, {run.pk: False})
    run.refresh_from_db()
    assert run.state == State.RUNNING


def test_commands_that_were_never_sent_in_time_are_withdrawn(run: Run) -> None:
    queue_command(node_of(run).pk, CancelRun(run=str(run.pk)), run=run.pk, not_after=timezone.now())
    tick(timezone.now())
    assert Command.objects.get().state == Command.State.WITHDRAWN


def test_a_node_that_is_heard_at_the_last_moment_loses_no_run(run: Run) -> None:
    doubted_since = timezone.now() - timedelta(seconds=1)
    silence(node_of(run), timedelta())
    assert not mark_lost(run, silent_since=doubted_since)


def test_a_run_that_ends_at_the_last_moment_is_not_lost(agent: Agent) -> None:
    run = make_run(agent=agent, state=State.FAILED)
    silence(node_of(agent), BEYOND_GRACE)
    assert not mark_lost(run, silent_since=timezone.now())


def test_a_lost_run_whose_end_was_asked_for_is_found_on_its_way_out(agent: Agent) -> None:
    run = make_run(agent=agent, state=State.LOST)
    cancel_run(run, by=SYSTEM)
    silence(node_of(agent), BEYOND_GRACE)
    tick(timezone.now())
    cancel_run(run, by=SYSTEM)
    assert Command.objects.filter(kind=CancelRun.KIND).count() == 1
    on_hello(node_of(agent).pk, {run.pk: True})
    run.refresh_from_db()
    assert (run.state, run.reason) == (State.STOPPING, Reason.CANCEL_REQUESTED)


def test_a_queued_run_outlasts_the_disabling_of_a_node_that_is_heard(agent: Agent) -> None:
    run = make_run(agent=agent, state=State.QUEUED)
    Run.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(seconds=NODE_GONE_SECONDS + 60))
    Node.objects.filter(pk=node_of(agent).pk).update(is_enabled=False)
    assert (tick(timezone.now()), end_gone_run(run.pk, timezone.now())) == (0, False)
    silence(node_of(agent), timedelta(seconds=DISABLED_GONE_SECONDS - 60))
    assert (tick(timezone.now()), end_gone_run(run.pk, timezone.now())) == (0, False)
    silence(node_of(agent), timedelta(seconds=DISABLED_GONE_SECONDS + 60))
    assert tick(timezone.now()) == 1
    run.refresh_from_db()
    assert (run.state, run.reason) == (State.FAILED, Reason.NODE_GONE)


@pytest.mark.parametrize("to", [None, "oslo"])
def test_a_run_that_follows_its_agent_elsewhere_at_the_last_moment_is_not_ended(
    lima: Node, to: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(lima, timedelta(seconds=NODE_GONE_SECONDS + 60))
    run = make_run(agent=make_agent("far", node=lima), state=State.QUEUED)
    Run.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(seconds=NODE_GONE_SECONDS + 60))
    elsewhere = make_node(to) if to else None

    def lock_late(node_id: UUID) -> Node:
        Run.objects.filter(pk=run.pk).update(node=elsewhere)
        return lock_node(node_id)

    monkeypatch.setattr(losses, "lock_node", lock_late)
    assert not end_gone_run(run.pk, timezone.now())
    run.refresh_from_db()
    assert (run.state, run.node) == (State.QUEUED, elsewhere)
    if elsewhere is None:
        assert not end_gone_run(run.pk, timezone.now())


def handed_over(agent: Agent, *, sent: bool = False) -> Run:
    run = make_run(agent=agent, state=State.STARTING, reason=Reason.STARTING)
    at = timezone.now() if sent else None
    Command.objects.create(node=node_of(agent), run=run.pk, kind="start_run", body="{}", first_sent_at=at)
    return run


@pytest.mark.parametrize("sent", [False, True])
def test_a_run_whose_node_left_before_it_answered_says_so_until_the_node_is_back(agent: Agent, sent: bool) -> None:
    run = handed_over(agent, sent=sent)
    for away in (True, True, False, False):
        silence(node_of(agent), timedelta(seconds=SILENT_SECONDS + 1 if away else 0))
        tick(timezone.now())
        run.refresh_from_db()
        expected = Reason.NODE_OFFLINE if away else Reason.STARTING
        assert (run.state, run.reason, bool(run.message)) == (State.STARTING, expected, away)
        assert waiting_for(run) == ("its node, which is offline" if away else "its node to start it")
    said = [json.loads(event.payload)["reason"] for event in RunEvent.objects.filter(run=run).order_by("seq")]
    assert said == [Reason.NODE_OFFLINE, Reason.STARTING]


def test_a_run_that_its_node_took_is_not_said_to_wait_for_it(agent: Agent) -> None:
    run = handed_over(agent, sent=True)
    silence(node_of(agent), timedelta(seconds=SILENT_SECONDS + 1))
    tick(timezone.now())
    Command.objects.update(state=Command.State.ACCEPTED)
    tick(timezone.now())
    run.refresh_from_db()
    assert run.reason == Reason.STARTING


def test_a_hub_that_was_deaf_does_not_call_a_node_silent(agent: Agent) -> None:
    run = handed_over(agent)
    now = timezone.now()
    silence(node_of(agent), timedelta(hours=1))
    tick(now, listening_since=now - timedelta(seconds=SILENT_SECONDS - 1))
    run.refresh_from_db()
    assert run.reason == Reason.STARTING
    tick(now, listening_since=now - timedelta(seconds=SILENT_SECONDS + 1))
    run.refresh_from_db()
    assert run.reason == Reason.NODE_OFFLINE
