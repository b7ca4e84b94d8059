"""Refusals reach the trail: the first at once, the rest counted, and never so many that a disk fills."""

import pytest
from django.test import Client

from agenthub_site.accounts.models import Project, User
from audit.models import AuditEvent
from audit.refusals import ROWS_A_WINDOW, Refusal, Refusals, source_of
from audit.services import Who
from tests.api.clients import Api

pytestmark = pytest.mark.django_db


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def some(clock: Clock) -> Refusals:
    return Refusals(clock)


def refused(address: str, code: str = "forbidden") -> Refusal:
    return Refusal("access.refused", Who("anonymous", address=address, user_agent="curl"), code=code)


def counts() -> list[tuple[str, int]]:
    return [(event.address, event.data["count"]) for event in AuditEvent.objects.order_by("id")]


def test_the_first_is_written_at_once_and_the_others_when_the_minute_is_over(some: Refusals, clock: Clock) -> None:
    for _ in range(5):
        some.note(refused("10.0.0.1"))
    assert counts() == [("10.0.0.1", 1)]
    clock.now += 61
    some.flush()
    assert counts() == [("10.0.0.1", 1), ("10.0.0.1", 4)]


def test_another_reason_is_another_row(some: Refusals) -> None:
    some.note(refused("10.0.0.1"))
    some.note(refused("10.0.0.1", "csrf_failed"))
    assert len(counts()) == 2


def test_a_thousand_sources_fill_no_disk(some: Refusals) -> None:
    for n in range(1_000):
        some.note(refused(f"10.0.{n // 250}.{n % 250}"))
    some.flush(force=True)
    assert len(counts()) == ROWS_A_WINDOW + 1
    assert sum(count for _, count in counts()) == 1_000


def test_one_network_of_ipv6_is_one_source(some: Refusals) -> None:
    for n in range(10):
        some.note(refused(f"2001:db8::{n:x}"))
    assert counts() == [("2001:db8::0", 1)]
    assert source_of("") == "" and source_of("2001:db8::1") == "2001:db8::/64"


def test_what_a_role_does_not_allow_is_in_the_trail_of_the_project(project: Project, bob: User) -> None:
    Api(bob).get("/api/v1/audit/", {"project": "harbour"})
    event = AuditEvent.objects.get(name="access.refused")
    assert (event.project, event.actor_id, event.data["code"]) == (project.pk, str(bob.pk), "forbidden audit:view")


def test_a_caller_without_a_credential_is_in_the_trail_by_address() -> None:
    for _ in range(3):
        Api().get("/api/v1/runs/", REMOTE_ADDR="192.0.2.7", HTTP_USER_AGENT="probe/1")
    event = AuditEvent.objects.get(name="access.refused")
    assert (event.actor_kind, event.address, event.user_agent) == ("anonymous", "192.0.2.7", "probe/1")
    assert event.data == {"code": "unauthenticated", "door": "GET api/v1/runs/", "count": 1}


def test_an_address_that_no_trusted_proxy_gave_is_not_believed() -> None:
    Api().get("/api/v1/runs/", REMOTE_ADDR="192.0.2.7", HTTP_X_FORWARDED_FOR="10.1.1.1")
    assert AuditEvent.objects.get(name="access.refused").address == "192.0.2.7"


def test_a_form_without_its_token_is_in_the_trail() -> None:
    client = Client(enforce_csrf_checks=True, SERVER_NAME="localhost")
    assert client.post("/login/", {"login": "alice"}).status_code == 403
    assert AuditEvent.objects.get(name="access.refused").data["code"] == "csrf_failed"
