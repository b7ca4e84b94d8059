from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from django.db import connection, connections
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agents.models import Agent, Run
from agents.reading import counters
from agents.services.answers import on_command_answered
from agents.services.runs import cancel_run, start_run
from agents.states import State
from nodes.contract.commands import CancelRun
from nodes.leases import HeldLease, LeaseLost, claim_lease
from nodes.models import Command, Node
from nodes.outbox import answer_command, queue_command, take_commands, withdraw_unsent
from tests.factories import make_run, node_of


@pytest.fixture
def lease(oslo: Node) -> HeldLease:
    lease = claim_lease(oslo.pk, "hub-a")
    assert lease
    return lease


def queue(run: Run) -> Command:
    return queue_command(node_of(run).pk, CancelRun(run=str(run.pk)), run=run.pk)


def test_each_runs_oldest_command_goes_first_and_alone(run: Run, agent: Agent, lease: HeldLease) -> None:
    first, second, other = queue(run), queue(run), queue(make_run(agent=agent))
    assert [c.id for c in take_commands(lease, set())] == [first.id, other.id]
    answer_command(first.id, lease.node_id, accepted=True)
    assert [c.id for c in take_commands(lease, {other.id})] == [second.id]


def test_one_busy_run_does_not_hide_the_commands_of_others(run: Run, agent: Agent, lease: HeldLease) -> None:
    busy = [queue(run) for _ in range(30)]
    other = queue(make_run(agent=agent))
    assert [c.id for c in take_commands(lease, set(), limit=2)] == [busy[0].id, other.id]
    assert [c.id for c in take_commands(lease, {busy[0].id}, limit=1)] == [other.id]


def test_a_runs_commands_go_in_the_order_they_were_written_whatever_their_ids(run: Run, lease: HeldLease) -> None:
    first, second = queue(run), queue(run)  # as if another process, whose clock is behind, had written the second
    Command.objects.filter(pk=second.pk).update(id=UUID(int=1))
    assert [c.id for c in take_commands(lease, set())] == [first.id]
    assert Command.objects.get(pk=first.pk).number < Command.objects.get(pk=UUID(int=1)).number


def test_what_was_not_sent_in_its_time_is_not_sent_and_holds_up_nothing(run: Run, lease: HeldLease) -> None:
    queue_command(node_of(run).pk, CancelRun(run=str(run.pk)), run=run.pk, not_after=timezone.now())
    second = queue(run)
    assert [c.id for c in take_commands(lease, set())] == [second.id]


def test_an_unanswered_command_is_sent_again(run: Run, lease: HeldLease) -> None:
    command = queue(run)
    assert take_commands(lease, set()) and take_commands(lease, set()) == [command]


def test_an_answer_counts_once(run: Run, lease: HeldLease) -> None:
    command = queue(run)
    assert answer_command(command.id, lease.node_id, accepted=False, code="unknown_run")
    assert answer_command(command.id, lease.node_id, accepted=True) is None
    assert Command.objects.get().state == Command.State.REJECTED


@pytest.mark.parametrize("code", ["capacity", "busy", "stale_epoch"])
def test_not_now_is_not_an_answer(run: Run, lease: HeldLease, code: str) -> None:
    command = queue(run)
    assert answer_command(command.id, lease.node_id, accepted=False, code=code) is None
    assert Command.objects.get().state == Command.State.PENDING


def test_another_node_cannot_answer(run: Run, lima: Node) -> None:
    assert answer_command(queue(run).id, lima.pk, accepted=True) is None


def test_what_was_sent_cannot_be_withdrawn(run: Run, lease: HeldLease) -> None:
    queue(run)
    take_commands(lease, set())
    assert not withdraw_unsent(run.pk, CancelRun.KIND)


def test_a_stale_owner_sends_nothing(run: Run, lease: HeldLease) -> None:
    queue(run)
    claim_lease(lease.node_id, lease.owner)
    with pytest.raises(LeaseLost):
        take_commands(lease, set())


class Meddler(set[UUID]):
    """Asked what is under way, it withdraws the command: between the look at what is pending and the sending."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __contains__(self, _: object) -> bool:
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(withdraw_unsent, self._run.pk, CancelRun.KIND).result(10)
            thread.submit(connections.close_all).result(10)
        return False


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's transactions take turns")
@pytest.mark.django_db(transaction=True)
def test_a_command_that_is_withdrawn_while_it_is_taken_is_not_sent(run: Run, lease: HeldLease) -> None:
    queue(run)
    assert take_commands(lease, Meddler(run)) == []
    assert Command.objects.get().first_sent_at is None


def test_what_the_node_could_not_take_yet_can_be_withdrawn(run: Run, lease: HeldLease) -> None:
    command = queue(run)
    take_commands(lease, set())
    answer_command(command.id, lease.node_id, accepted=False, code="capacity")
    assert withdraw_unsent(run.pk, CancelRun.KIND)


def test_a_start_that_the_node_cannot_take_yet_is_not_sent_again_once_its_run_is_cancelled(
    agent: Agent, lease: HeldLease
) -> None:
    run = start_run(agent, by=SYSTEM, prompt="Go.")
    start = take_commands(lease, set())[0]
    cancel_run(run, by=SYSTEM)
    answered = answer_command(start.id, lease.node_id, accepted=False, code="capacity")
    assert answered and (answered.state, answered.code) == (Command.State.REJECTED, "cancelled")
    on_command_answered(answered)
    run.refresh_from_db()
    assert run.state == State.CANCELLED


@pytest.mark.django_db(transaction=True)  # it gives its connection back
def test_the_bell_s_poll_finds_the_nodes_that_commands_wait_for(run: Run, lima: Node) -> None:
    streams = [f"node:{run.node_id}", f"node:{lima.pk}"]
    assert counters(streams) == {}
    cancel_run(run, by=SYSTEM)
    assert list(counters(streams)) == streams[:1]
