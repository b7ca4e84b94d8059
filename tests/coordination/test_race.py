"""Of many who want the same thing at once, one gets it and the others are told so."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import Token
from agents.coordination.models import Assignment, Lock
from agents.coordination.services.assignments import claim_assignment
from agents.coordination.services.locks import acquire_lock, release_lock
from agents.coordination.services.rounds import approve_round
from agents.coordination.services.tasks import close_task
from agents.services.agents import archive_agent
from agents.services.importing import import_agents
from nodes.contract.errors import HubError

from .conftest import Crew, actor_for, make_external

CLIENTS = 8
RACES = 5

pytestmark = pytest.mark.django_db(transaction=True)


def again(assignment: Assignment) -> Assignment:
    """As another process would have read it."""
    return Assignment.objects.get(pk=assignment.pk)


def race(*attempts: Callable[[], object]) -> Counter[str]:
    """How often each outcome came: ``won``, or the code of a refusal."""
    start = Barrier(len(attempts))

    def run(attempt: Callable[[], object]) -> str:
        try:
            start.wait(60)
            attempt()
        except HubError as error:
            return error.code
        finally:
            connections.close_all()
        return "won"

    with ThreadPoolExecutor(len(attempts)) as threads:
        return Counter(threads.map(run, attempts))


def test_one_of_eight_agents_claims_an_assignment(crew: Crew) -> None:
    """B8: its limits were checked, and then acted upon, without a transaction."""
    rivals = [actor_for(make_external(f"rival-{n}", crew.project)) for n in range(CLIENTS)]
    crew.limit(max_simultaneous_assignments=100)
    for number in range(RACES):
        (assignment,) = crew.approved(None, task=crew.draft(f"T-{number}"))
        outcomes = race(
            *(lambda by=by: claim_assignment(again(assignment), by=by) for by in rivals)  # noqa: B023
        )
        assert outcomes == {"won": 1, "assignment_not_pending": CLIENTS - 1}


def test_one_of_eight_sessions_of_an_agent_claims_its_assignment(crew: Crew) -> None:
    (assignment,) = crew.approved()
    one = lambda: claim_assignment(again(assignment), by=crew.wim)  # noqa: E731
    assert race(*[one] * CLIENTS) == {"won": 1, "assignment_not_pending": CLIENTS - 1}


def test_one_of_eight_takes_a_lock_each_time_under_a_greater_number(crew: Crew) -> None:
    rivals = [actor_for(make_external(f"rival-{n}", crew.project)) for n in range(CLIENTS)]
    for number in range(1, RACES + 1):
        outcomes = race(*(lambda by=by: acquire_lock("main", by=by) for by in rivals))
        assert outcomes == {"won": 1, "lock_conflict": CLIENTS - 1}
        assert Lock.objects.get().fencing_number == number
        Lock.objects.update(holder=None, expires_at=None)


def test_an_agent_that_claims_eight_at_once_gets_no_more_than_it_may_hold(crew: Crew) -> None:
    crew.limit(max_assignments_per_round=8)
    held = crew.approved(*["wim"] * CLIENTS)
    outcomes = race(*(lambda item=item: claim_assignment(item, by=crew.wim) for item in held))
    assert outcomes == {"won": 4, "active_assignment_limit": 4}


def test_a_task_is_closed_while_its_plan_is_approved_without_a_deadlock(crew: Crew) -> None:
    for number in range(RACES):
        round_ = crew.plan(task=crew.draft(f"T-{number}"))
        race(lambda: approve_round(round_, by=crew.operator), lambda: close_task(round_.task, by=crew.operator))  # noqa: B023
        round_.task.refresh_from_db()
        assert round_.task.state == "closed"
        assert round_.task.rounds.get().state == "cancelled"


def test_a_lock_that_is_given_back_at_the_same_time_is_taken_or_held(crew: Crew) -> None:
    for number in range(RACES):
        acquire_lock(f"main-{number}", by=crew.wim)
        outcomes = race(
            lambda: release_lock(f"main-{number}", by=crew.wim),  # noqa: B023
            *[lambda: acquire_lock(f"main-{number}", by=crew.zoe)] * 3,  # noqa: B023
        )
        assert set(outcomes) <= {"won", "lock_conflict"} and outcomes["won"] in (1, 2)


def test_an_agent_that_is_put_away_while_it_is_imported_keeps_no_token(crew: Crew) -> None:
    for number in range(RACES):
        agent, lines = make_external(f"codex-{number}", crew.project), {f"codex-{number}": f"token-of-codex-{number}-0"}
        outcomes = race(
            lambda: archive_agent(agent, by=SYSTEM),  # noqa: B023
            lambda: import_agents(crew.project, lines, by=SYSTEM),  # noqa: B023
        )
        assert outcomes == {"won": 2}
        assert not Token.objects.filter(agent_id=agent.pk, revoked_at=None).exists()
