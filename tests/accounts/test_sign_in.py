"""Signing in: noted in the trail, and bounded for who guesses."""

from typing import Any

import pytest
from django.contrib.auth import aauthenticate, authenticate
from django.core.cache import cache
from django.test import Client, RequestFactory

from agenthub_site.accounts.login import ATTEMPTS
from agenthub_site.accounts.models import User
from audit.models import AuditEvent
from audit.refusals import ROWS_A_WINDOW, failures
from tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_attempts_yet() -> None:
    cache.clear()


@pytest.fixture
def dora() -> User:
    return make_user("dora", password=PASSWORD)


def attempt(password: str, address: str = "10.0.0.7") -> Any:
    request = RequestFactory().post("/login/", REMOTE_ADDR=address)
    return authenticate(request, username="dora", password=password)


def test_the_right_password_signs_in_and_is_noted(dora: User) -> None:
    client = Client(SERVER_NAME="localhost", REMOTE_ADDR="10.0.0.7")
    assert client.login(username="dora", password=PASSWORD)
    noted = AuditEvent.objects.get(name="user.logged_in")
    assert (noted.actor_label, noted.object_id) == ("dora", str(dora.pk))


def test_after_many_wrong_ones_the_right_one_is_not_looked_at(dora: User) -> None:
    for _ in range(ATTEMPTS):
        assert attempt("wrong") is None
    assert attempt(PASSWORD) is None


def test_a_guesser_elsewhere_does_not_lock_the_owner_out(dora: User) -> None:
    for _ in range(ATTEMPTS):
        attempt("wrong", address="6.6.6.6")
    assert attempt(PASSWORD) == dora


def test_the_right_one_forgets_the_wrong_ones(dora: User) -> None:
    for _ in range(3):
        for _ in range(ATTEMPTS - 1):
            attempt("wrong")
        assert attempt(PASSWORD) == dora


def test_a_flood_of_guesses_is_counted_in_the_trail_and_does_not_fill_it(dora: User) -> None:
    for number in range(200):
        request = RequestFactory().post("/login/", REMOTE_ADDR=f"10.0.1.{number}")
        authenticate(request, username=f"nobody-{number}", password="wrong")
        authenticate(request, username="dora", password="wrong")
    failures.flush(force=True)
    noted = AuditEvent.objects.exclude(name="user.login_throttled")
    assert set(noted.values_list("name", flat=True)) == {"user.login_failed"}
    assert noted.count() == ROWS_A_WINDOW + 1 - AuditEvent.objects.filter(name="user.login_throttled").count()
    assert sum(event.data["count"] for event in AuditEvent.objects.all()) == 400
    assert "nobody" not in str(list(noted.values("data")))


def test_an_inactive_person_does_not_get_in(dora: User) -> None:
    User.objects.update(is_active=False)
    assert attempt(PASSWORD) is None


@pytest.mark.django_db(transaction=True)
async def test_the_asynchronous_way_in_is_bounded_too() -> None:
    await User.objects.acreate_user("dora", password=PASSWORD)
    for _ in range(ATTEMPTS):
        assert await aauthenticate(username="dora", password="wrong") is None
    assert await aauthenticate(username="dora", password=PASSWORD) is None
