"""Whose fault a failed authentication is, and what a caller shows."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError

from agenthub_site import hot
from agenthub_site.accounts import admission
from agenthub_site.accounts.actors import SYSTEM, Actor
from agenthub_site.accounts.admission import Caller, credential_of, recall
from agenthub_site.hot import DeadlineExceeded, identify
from agenthub_site.origins import WrongOrigin, check_origin
from agenthub_site.rates import Rates
from nodes.contract.errors import HubError, InvalidToken, Unavailable

COOKIE = (b"cookie", b"agenthub_session=x")


def scope_of(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "client": ("192.0.2.7", 1), "headers": list(headers)}


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rates]:
    rates = Rates(per_second=0.0, burst=1)
    monkeypatch.setattr(hot, "REFUSALS", rates)
    yield rates


@pytest.mark.parametrize(
    ("error", "told"),
    [(OperationalError("away"), Unavailable), (DeadlineExceeded(), DeadlineExceeded)],
)
async def test_a_database_that_does_not_answer_is_not_the_callers_failure(
    monkeypatch: pytest.MonkeyPatch, refusals: Rates, error: Exception, told: type[HubError]
) -> None:
    async def admit(scope: object) -> None:
        raise error

    monkeypatch.setattr(hot, "admit", admit)
    for _ in range(3):
        with pytest.raises(told) as refused:
            await identify(scope_of(), {})
        assert refused.value.http == 503
    assert refusals.has("192.0.2.7")


async def test_a_wrong_token_is(monkeypatch: pytest.MonkeyPatch, refusals: Rates) -> None:
    async def admit(scope: object) -> None:
        await asyncio.sleep(0)
        raise InvalidToken()

    monkeypatch.setattr(hot, "admit", admit)
    with pytest.raises(InvalidToken):
        await identify(scope_of(), {})
    assert not refusals.has("192.0.2.7")


@pytest.mark.parametrize("authorization", [b"Basic eDp5", b"Bearer", b"x"])
def test_only_a_bearer_takes_the_place_of_an_origin(authorization: bytes) -> None:
    scope = scope_of(COOKIE, (b"authorization", authorization))
    if authorization == b"Bearer":
        with pytest.raises(InvalidToken):
            check_origin(scope, {"origin": "http://evil.example"})
        return
    assert credential_of(scope)[0] == ""
    with pytest.raises(WrongOrigin):
        check_origin(scope, {"origin": "http://evil.example"})


async def test_an_answer_that_is_shared_says_of_each_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Approvals are answered by it, and their audit says from where."""
    asked = []

    async def ask(scope: dict[str, Any]) -> Actor:
        asked.append(scope)
        return replace(SYSTEM, address=scope["client"][0], user_agent="the first")

    monkeypatch.setattr(admission, "actor_from_scope", ask)
    monkeypatch.setattr(admission, "_again", admission._Answers())
    scopes = [
        {**scope_of((b"authorization", b"bearer aht_x"), (b"user-agent", agent)), "client": (address, 1)}
        for address, agent in (("192.0.2.7", b"one"), ("192.0.2.8", b"two"))
    ]
    for now in ([await Caller(SYSTEM, scope).now() for scope in scopes], [(await recall(s)).actor for s in scopes]):
        assert [(actor.address, actor.user_agent) for actor in now] == [("192.0.2.7", "one"), ("192.0.2.8", "two")]
    assert len(asked) == 1


def test_a_bearer_proves_that_no_page_is_behind_it() -> None:
    scope = scope_of(COOKIE, (b"authorization", b"bearer  aht_x "))
    assert credential_of(scope) == ("aht_x", COOKIE[1], False)
    check_origin(scope, {"origin": "http://evil.example"})
