"""Every door that takes an id, a name or a filter, asked for what cannot be: refused, and never a fault of ours."""

import logging
from collections.abc import Callable, Iterator

import pytest
from django.db import transaction
from django.test import Client

from .doors import PAGES, PUBLIC, REST
from .test_fuzz import QUERIES
from .world import make_callers, make_world

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]
NOTHING = ("no-such-thing", "0", "-1", "%00", "%F0%9F%98%80", "x" * 300, "018f3a52-1c4e-7000-8000-000000000001")
Ask = Callable[[str, str], int]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Asks as root; the status."""
    callers = make_callers(make_world("harbour", "curlew"), make_world("pier", "tern"))
    root = next(who for who in callers if who.role == "root" and who.scope is None)
    session = Client(SERVER_NAME="localhost", raise_request_exception=False)
    assert root.user
    session.force_login(root.user)

    def status(method: str, address: str) -> int:
        is_rest = address.startswith("/api/")
        headers = {"authorization": f"Bearer {root.secret}"} if is_rest else {}
        with transaction.atomic():
            answer = session.generic(method, address, "{}" if is_rest else "", "application/json", headers=headers)
            transaction.set_rollback(True)
        return answer.status_code

    logging.disable(logging.ERROR)
    yield status
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", NOTHING)
def test_a_name_that_cannot_be_is_refused(ask: Ask, name: str) -> None:
    wrong = []
    for key in (*REST, *PAGES):
        method, path = key.split(" ", 1)
        address = "/".join(name if part.startswith("{") else part for part in path.split("/"))
        if address != path and (status := ask(method, address)) >= 500:
            wrong.append(f"{key}: {status}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.matrix
@pytest.mark.parametrize("value", ["no-such-thing", "-1", "%00"])
def test_a_filter_that_cannot_be_is_refused_or_finds_nothing(ask: Ask, value: str) -> None:
    wrong = []
    for key, door in {**REST, **PAGES}.items():
        method, path = key.split(" ", 1)
        if method != "GET" or "{" in path or door.to is PUBLIC:
            continue
        wrong += [f"{key}?{name}" for name in QUERIES if ask("GET", f"{path}?{name}={value}") >= 500]
    assert not wrong, "\n".join(wrong)
