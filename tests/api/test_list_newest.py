"""Lists of all that somebody sees in several projects: the same pages, without a read of all that these ever had."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import Project, User
from agenthub_site.accounts.newest import newest, projects_apart
from agents.models import Agent, Run
from agents.states import State
from audit.services import record
from tests.api.clients import Api
from tests.factories import make_agent, make_approval, make_project, make_run, make_user
from tests.plans import plans_of


@pytest.fixture
def runs(alice: User, agent: Agent) -> list[Run]:
    """Of two projects of Alice's in turn, of a third that is quiet, and of one that is not hers; oldest first."""
    busy = make_agent("busy", project=make_project("busy"))
    quiet = make_agent("quiet", project=make_project("quiet"))
    foreign = make_agent("foreign", project=make_project("foreign", owner=make_user("otto")))
    mine = [make_run(agent=quiet, state=State.SUCCEEDED)]
    for number in range(9):
        mine.append(make_run(agent=(agent, busy, busy)[number % 3], state=State.SUCCEEDED))
        make_run(agent=foreign, state=State.SUCCEEDED)
    return mine


@pytest.mark.parametrize("most", [1, 3, 5, 10, 50])
@pytest.mark.parametrize("from_oldest", [False, True])
def test_nothing_that_is_wanted_is_left_out(alice: User, runs: list[Run], most: int, from_oldest: bool) -> None:
    seen = Run.objects.filter(project__memberships__user=alice).order_by("pk" if from_oldest else "-pk")
    apart = projects_apart([run.project_id for run in runs])
    expected = (runs if from_oldest else runs[::-1])[:most]
    assert list(newest(seen, apart, most, from_oldest=from_oldest)[:most]) == expected


def test_one_project_is_read_as_it_is(project: Project) -> None:
    assert projects_apart([project.pk]) is None
    with CaptureQueriesContext(connection) as queries:
        list(newest(Run.objects.all(), None, 5))
    assert len(queries) == 1


def test_pages_lead_there_and_back(runs: list[Run], as_alice: Api) -> None:
    told, page = [], as_alice.get("/api/v1/runs/", {"limit": "4"}).json()
    told.append([run["id"] for run in page["results"]])
    while page["next"]:
        page = as_alice.get(page["next"]).json()
        told.append([run["id"] for run in page["results"]])
    assert [pk for part in told for pk in part] == [str(run.pk) for run in reversed(runs)]
    for part in reversed(told[:-1]):
        page = as_alice.get(page["previous"]).json()
        assert [run["id"] for run in page["results"]] == part


def test_filters_narrow_before_the_newest_are_looked_for(runs: list[Run], as_alice: Api) -> None:
    odd = runs[1]
    Run.objects.filter(pk=odd.pk).update(state=State.FAILED)
    asked: tuple[dict[str, str], ...] = ({"state": "failed"}, {"state": "failed", "project": odd.project.slug})
    for query in asked:
        found = as_alice.get("/api/v1/runs/", {**query, "limit": "2"}).json()["results"]
        assert [run["id"] for run in found] == [str(odd.pk)]


@pytest.mark.parametrize(
    ("address", "index"),
    [
        ("/api/v1/runs/", "runs_of_a_project"),
        ("/api/v1/approvals/", "approvals_of_a_project"),
        ("/api/v1/usage/?by=run", "runs_of_a_project"),
        ("/api/v1/audit/", "audit_of_a_project_in_time"),
    ],
)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL finds them by itself")
def test_each_project_is_read_by_its_index(runs: list[Run], as_alice: Api, address: str, index: str) -> None:
    for run in runs:
        make_approval(run)
    with transaction.atomic():
        for run in runs:
            record(run.project_id, "run.queued", by=SYSTEM)
    plans = plans_of(lambda: as_alice.get(address, {"limit": "2"} if "?" not in address else None))
    apart = [plan for plan in plans if "SubPlan" in plan or "CORRELATED SCALAR SUBQUERY" in plan]
    assert [plan for plan in apart if index in plan]


def test_several_projects_take_one_query_more_than_all(runs: list[Run], as_alice: Api, as_root: Api) -> None:
    def asked(who: Api) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert who.get("/api/v1/runs/").status_code == 200
        return len(queries)

    assert asked(as_alice) <= asked(as_root) + 2
