"""Back-channel logout: the provider ends sessions here, and nobody else does."""

import time
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from agenthub_site.accounts.oidc.signing_out import RATES
from audit.models import AuditEvent
from tests.fakes.provider import FakeProvider

from .oidc import LOGOUT_EVENT, come_back, is_in, logout_token, visitor

pytestmark = pytest.mark.django_db
NOW = int(time.time())


@pytest.fixture(autouse=True)
def _no_attempts_yet(db: None) -> None:
    cache.clear()


@pytest.fixture
def anna(op: FakeProvider) -> Client:
    anna = visitor()
    come_back(anna, op, sid="sid-1")
    assert is_in(anna)
    return anna


def tell(token: str | None) -> Any:
    client = Client(SERVER_NAME="localhost", enforce_csrf_checks=True)
    return client.post("/oidc/backchannel-logout", {"logout_token": token} if token else {})


def test_the_session_of_a_sid_ends_and_no_other(op: FakeProvider, anna: Client) -> None:
    elsewhere = visitor()
    come_back(elsewhere, op, sid="sid-2")
    answer = tell(logout_token(op, sid="sid-1"))
    assert answer.status_code == 200 and "no-store" in answer["Cache-Control"]
    assert (is_in(anna), is_in(elsewhere)) == (False, True)
    ended = AuditEvent.objects.get(name="sessions.ended")
    assert (ended.actor_kind, ended.actor_id) == ("integration", "oidc")


def test_a_sid_that_was_never_told_ends_all_of_its_subject(op: FakeProvider) -> None:
    """A provider may put it into the token that ends a session, and in none that begins one."""
    anna, elsewhere, other = visitor(), visitor(), visitor()
    come_back(anna, op)
    come_back(elsewhere, op)
    come_back(other, op, sub="olga", preferred_username="olga")
    assert tell(logout_token(op, sid="sid-9")).status_code == 200
    assert (is_in(anna), is_in(elsewhere), is_in(other)) == (False, False, True)


def test_all_sessions_of_a_subject_end(op: FakeProvider, anna: Client) -> None:
    elsewhere, other = visitor(), visitor()
    come_back(elsewhere, op, sid="sid-2")
    come_back(other, op, sub="olga", sid="sid-3", preferred_username="olga")
    tell(logout_token(op))
    assert (is_in(anna), is_in(elsewhere), is_in(other)) == (False, False, True)


@pytest.mark.parametrize("spoilt", [
    {"iss": "https://evil.example"}, {"aud": "another-client"}, {"iat": NOW - 3600}, {"exp": NOW - 3600},
    {"iat": None}, {"jti": None}, {"events": None}, {"events": {}}, {"events": {LOGOUT_EVENT: "no"}},
    {"nonce": "an ID token has one"}, {"sub": None}, {"signing": {"by": "rsa-other"}},
    {"signing": {"by": "rsa-other", "kid": "rsa-1"}}, {"signing": {"alg": "none"}}, {"signing": {"alg": "HS256"}},
])  # fmt: skip
def test_a_spoilt_token_ends_nothing(op: FakeProvider, anna: Client, spoilt: dict[str, Any]) -> None:
    assert tell(logout_token(op, **spoilt)).status_code == 400
    assert is_in(anna)
    assert AuditEvent.objects.filter(name="user.logout_refused").count() == 1


@pytest.mark.parametrize("token", [None, "", "x", "a.b.c", "x" * 20_000])
def test_what_is_no_token_ends_nothing(op: FakeProvider, anna: Client, token: str | None) -> None:
    assert tell(token).status_code == 400
    assert is_in(anna)


def test_a_token_is_taken_once(op: FakeProvider, anna: Client) -> None:
    token = logout_token(op)
    assert tell(token).status_code == 200
    come_back(anna, op)
    assert tell(token).status_code == 400
    assert is_in(anna), "a replay does not sign them out again"


def test_without_a_provider_nobody_is_told_anything() -> None:
    assert tell("x").status_code == 404


def test_many_who_leave_at_once_all_leave_and_who_guesses_is_stopped(
    op: FakeProvider, anna: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RATES, "backchannel", "3/m/key")
    assert {tell(logout_token(op, sub=f"somebody-{number}")).status_code for number in range(5)} == {200}
    assert [tell("x").status_code for _ in range(4)] == [400, 400, 400, 429]


def test_a_logout_that_failed_here_is_taken_when_it_is_told_again(
    op: FakeProvider, anna: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = logout_token(op)
    with monkeypatch.context() as patch:
        patch.setattr("agenthub_site.accounts.oidc.signing_out.end_of_provider", None)  # as if the database were away
        with pytest.raises(TypeError):
            tell(token)
    assert is_in(anna)
    assert tell(token).status_code == 200 and not is_in(anna)
