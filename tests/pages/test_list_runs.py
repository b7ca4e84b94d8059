"""Lists of runs: filters, pages, live parts, and no query more for many than for few."""

import re
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agenthub_site.accounts.models import Project, User
from agents.models import Agent, Run
from agents.states import State
from tests.factories import make_agent, make_approval, make_run, make_token


def prompts(page: str) -> list[str]:
    return [part.partition("</a>")[0].partition(">")[2] for part in page.split('class="row-title"')[1:]]


def test_the_newest_comes_first(web: Client, agent: Agent) -> None:
    for number in range(3):
        make_run(agent=agent, prompt=f"Number {number}")
    assert prompts(web.get("/runs/").content.decode()) == ["Number 2", "Number 1", "Number 0"]


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [("live", {"running", "waiting"}), ("waiting", {"waiting"}), ("failed", {"failed", "timed_out"}), ("", None)],
)
def test_states_narrow_the_list(web: Client, agent: Agent, chosen: str, shown: set[str] | None) -> None:
    states = [State.RUNNING, State.WAITING, State.FAILED, State.TIMED_OUT, State.SUCCEEDED]
    for state in states:
        make_run(agent=agent, state=state, prompt=state)
    page = web.get("/runs/", {"state": chosen}).content.decode()
    assert set(prompts(page)) == (shown or set(states))


def test_agents_and_projects_narrow_the_list(web: Client, agent: Agent, project: Project) -> None:
    other = make_agent("painter", project=project)
    make_run(agent=agent, prompt="demo's")
    make_run(agent=other, prompt="painter's")
    assert prompts(web.get("/runs/", {"agent": str(other.pk)}).content.decode()) == ["painter&#x27;s"]
    assert len(prompts(web.get("/runs/", {"project": str(project.pk)}).content.decode())) == 2


def test_a_filter_that_means_nothing_is_ignored(web: Client, run: Run) -> None:
    for query in ({"state": "odd"}, {"agent": "x"}, {"before": "y"}, {"project": "1' or 1"}):
        assert len(prompts(web.get("/runs/", query).content.decode())) == 1


def test_a_filter_without_hits_says_how_to_get_out(web: Client, run: Run) -> None:
    page = web.get("/runs/", {"state": "cancelled"}).content.decode()
    assert "No run fits these filters" in page and "Show all runs" in page


def test_no_runs_at_all_says_how_to_start_one(web: Client, agent: Agent) -> None:
    page = web.get("/runs/").content.decode()
    assert "No runs yet" in page and "agenthub run demo" in page


def test_older_runs_are_a_page_away(web: Client, agent: Agent) -> None:
    for number in range(51):
        make_run(agent=agent, prompt=f"Number {number}")
    first = web.get("/runs/", {"state": "live"}).content.decode()
    link = first.partition('href="?')[2].partition('"')[0].replace("&amp;", "&")
    assert len(prompts(first)) == 50 and "state=live" in link
    second = web.get(f"/runs/?{link}").content.decode()
    assert prompts(second) == ["Number 0"] and "every 4s" not in second


def test_htmx_gets_the_rows_alone(web: Client, run: Run) -> None:
    page = web.get("/runs/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in page and 'id="run-rows"' in page


def test_a_runs_state_is_in_words(web: Client, agent: Agent) -> None:
    make_run(agent=agent, state=State.QUEUED, reason="node_offline")
    assert "Waiting for its node, which is offline." in web.get("/runs/").content.decode()


@pytest.mark.parametrize(
    ("files", "lines", "shown"),
    [(0, 0, ""), (2, 3, "+3 \N{MINUS SIGN}3"), (1, 0, "1 file")],
    ids=["nothing", "lines", "binary"],
)
def test_changes_are_counted_where_there_are_any(web: Client, agent: Agent, files: int, lines: int, shown: str) -> None:
    make_run(agent=agent, state=State.SUCCEEDED, diff={"files_changed": files, "additions": lines, "deletions": lines})
    page = re.sub(r"<[^>]+>", "", web.get("/runs/").content.decode())
    assert shown in page and "+0" not in page and "0 file" not in page


def test_what_an_agent_was_told_is_never_markup(web: Client, agent: Agent) -> None:
    run = make_run(agent=agent, prompt="<script>alert(1)</script>", message="<b>bold</b>", state=State.FAILED)
    for address in ("/runs/", reverse("run", args=[run.pk])):
        page = web.get(address).content.decode()
        assert "<script>alert" not in page and "<b>bold" not in page


@pytest.fixture
def fill(project: Project, agent: Agent) -> Callable[[], None]:
    def more() -> None:
        for number in range(5):
            run = make_run(agent=make_agent(f"a{Agent.objects.count()}{number}", project=project, node=agent.node))
            make_approval(run)
            make_token(run.user)

    return more


@pytest.mark.parametrize("name", ["runs", "agents", "projects", "approvals", "nodes", "tokens", "new_run"])
def test_many_rows_cost_no_more_queries_than_few(web: Client, alice: User, fill: Callable[[], None], name: str) -> None:
    fill()
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert web.get(reverse(name)).status_code == 200
        counts.append(len(captured))
        fill()
    assert counts[0] == counts[1] <= 10


def test_a_run_page_costs_few_queries(web: Client, run: Run) -> None:
    with CaptureQueriesContext(connection) as captured:
        web.get(reverse("run", args=[run.pk]))
    assert len(captured) <= 7
