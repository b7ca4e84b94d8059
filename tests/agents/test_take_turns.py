"""Services that meet on the same rows lock them in one order: on PostgreSQL another order is a deadlock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import pytest
from django.db import connections, transaction
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.services import add_member
from agents import scheduler
from agents.reconciler import on_hello
from agents.services.agents import edit_agent
from agents.services.approvals import decide_approval
from agents.services.runs import cancel_run, start_run
from agents.states import State
from nodes.contract.errors import WrongState
from nodes.contract.events import RunStarted, StateChanged
from tests.agents.records import commit, lease_of
from tests.factories import make_agent, make_approval, make_node, make_project, make_run, make_user, node_of

ROUNDS = 25


def together(*works: Callable[[int], object]) -> None:
    """Each in a thread of its own, so many times; what one raises is raised here."""

    def repeat(work: Callable[[int], object]) -> None:
        try:
            for number in range(ROUNDS):
                work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as threads:
        for done in [threads.submit(repeat, work) for work in works]:
            done.result(60)


pytestmark = pytest.mark.django_db(transaction=True)


def test_starting_and_placing_runs_while_their_agent_and_project_change() -> None:
    agent, project = make_agent(node=make_node(capacity=10_000), worktree_repo="/r"), make_project()
    bob, roles = make_user("bob"), ["developer", "viewer"]

    def queue_and_place(_: int) -> None:
        make_run(agent=agent, state=State.QUEUED)
        scheduler.tick(timezone.now())

    together(
        lambda _: start_run(agent, by=SYSTEM, prompt="Go."),
        lambda _: start_run(agent, by=SYSTEM, prompt="Go."),
        queue_and_place,
        lambda n: edit_agent(agent, by=SYSTEM, description=str(n)),
        lambda n: add_member(project, bob, roles[n % 2], SYSTEM),
    )


def test_deciding_while_the_run_speaks_and_others_start() -> None:
    run = make_run()
    agent, lease, numbers = run.agent, lease_of(run), count(2)
    commit(run, RunStarted(runtime="acp", workspace="/w"), lease=lease)
    approvals = [make_approval(run) for _ in range(ROUNDS)]

    def speak(number: int) -> None:
        state = ("waiting", "running")[number % 2]
        commit(run, StateChanged(state=state), first=next(numbers), lease=lease)

    together(
        speak,
        lambda n: decide_approval(approvals[n], by=SYSTEM, option_id="yes"),
        lambda _: start_run(agent, by=SYSTEM, prompt="Go."),
    )
    run.refresh_from_db()
    assert run.last_seq == run.events.count() == 1 + 2 * ROUNDS


def test_cancelling_while_a_node_says_what_it_no_longer_holds() -> None:
    agent = make_agent(node=make_node(capacity=10_000))
    runs = [[make_run(agent=agent) for _ in range(4)] for _ in range(ROUNDS)]

    def cancel(number: int) -> None:
        for run in reversed(runs[number]):
            with suppress(WrongState):  # it has failed already
                cancel_run(run, by=SYSTEM)

    def greet(_: int) -> None:
        with transaction.atomic():
            on_hello(node_of(agent).pk, {})

    together(greet, cancel)
