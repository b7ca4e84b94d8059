"""A project's audit trail as a page."""

import pytest
from django.db import transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import Project, User
from audit.services import record
from nodes.contract.ids import new_id

PATH = "/projects/harbour/audit/"


def page_of(user: User, path: str = PATH) -> tuple[int, str]:
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    response = client.get(path)
    return response.status_code, response.content.decode()


def test_who_may_read_it_and_who_may_not(project: Project, alice: User, bob: User, charlie: User) -> None:
    assert [page_of(user)[0] for user in (alice, bob, charlie)] == [200, 403, 404]
    assert PATH in page_of(alice, "/projects/harbour/")[1]
    assert PATH not in page_of(bob, "/projects/harbour/")[1]


def test_an_empty_trail_says_what_will_be_there(project: Project, alice: User) -> None:
    assert "Nothing has happened here yet" in page_of(alice)[1]


@pytest.mark.parametrize("query", ["q=needle", "name=run.", "actor=AgentHub", "run={run}"])
def test_it_can_be_narrowed(project: Project, alice: User, query: str) -> None:
    run = new_id()
    with transaction.atomic():
        record(project.pk, "run.queued", by=SYSTEM, run=run, note="a <needle>")
    assert "run.queued" in page_of(alice, f"{PATH}?{query.format(run=run)}")[1]
    nothing = query.partition("=")[0]
    other = str(new_id()) if nothing == "run" else "nowhere"
    assert "Nothing in the trail fits" in page_of(alice, f"{PATH}?{nothing}={other}")[1]


def test_what_stands_in_it_is_no_markup(project: Project, alice: User) -> None:
    with transaction.atomic():
        record(project.pk, "run.queued", by=SYSTEM, note="<script>alert(1)</script>")
    assert "<script>alert" not in page_of(alice)[1]


def test_fifty_events_cost_as_much_as_one(
    project: Project, alice: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with transaction.atomic():
        for _ in range(60):
            record(project.pk, "run.queued", by=SYSTEM, run=new_id())
    client = Client(SERVER_NAME="localhost")
    client.force_login(alice)
    with django_assert_max_num_queries(12):
        assert "before=" in client.get(PATH).content.decode()


def test_values_are_written_as_people_write_them(project: Project, alice: User) -> None:
    with transaction.atomic():
        record(project.pk, "team.created", by=SYSTEM, is_new=True, members=["agent:demo", "user:bob"], more={"a": [1]})
    page = page_of(alice)[1]
    assert "<code>yes</code>" in page and "<code>agent:demo, user:bob</code>" in page
    assert "<code>{&quot;a&quot;: [1]}</code>" in page
