"""What comes back from the provider and is not to be believed: refused, nothing made, and in the trail."""

import time
from typing import Any

import pytest
from django.core.cache import cache

from agenthub_site.accounts.models import User
from tests.factories import make_user
from tests.fakes.provider import CLIENT, FakeProvider

from .oidc import come_back, is_in, leave, path_of, reason, rows, visitor

pytestmark = pytest.mark.django_db
NOW = int(time.time())


@pytest.fixture(autouse=True)
def _no_attempts_yet(db: None) -> None:
    cache.clear()


SPOILT: list[tuple[str, dict[str, Any]]] = [
    ("wrong_issuer", {"iss": "https://evil.example"}),
    ("wrong_issuer", {"iss": ""}),
    ("wrong_audience", {"aud": "another-client"}),
    ("wrong_audience", {"aud": [CLIENT, "another-client"]}),
    ("wrong_audience", {"aud": [CLIENT, "another-client"], "azp": "another-client"}),
    ("wrong_audience", {"azp": "another-client"}),
    ("wrong_nonce", {"nonce": "of another sign-in"}),
    ("wrong_nonce", {"nonce": 7}),
    ("wrong_nonce", {"nonce": None}),
    ("expired", {"exp": NOW - 3600, "iat": NOW - 3700}),
    ("expired", {"iat": NOW - 3600, "exp": NOW + 3600}),
    ("not_yet_valid", {"iat": NOW + 3600, "exp": NOW + 7200}),
    ("missing_claim", {"exp": None}),
    ("missing_claim", {"iat": None}),
    ("missing_claim", {"sub": None}),
    ("missing_claim", {"aud": None}),
    ("missing_claim", {"iss": None}),
    ("no_subject", {"sub": ""}),
    ("no_subject", {"sub": "x" * 256}),
    ("not_an_id_token", {"events": {}}),
    ("unknown_key", {"signing": {"by": "rsa-other"}}),
    ("wrong_signature", {"signing": {"by": "rsa-other", "kid": "rsa-1"}}),
    ("unknown_key", {"signing": {"by": "ec-other", "kid": "rsa-1"}}),
    ("wrong_algorithm", {"signing": {"alg": "none"}}),
    ("wrong_algorithm", {"signing": {"alg": "HS256"}}),
    ("wrong_algorithm", {"signing": {"alg": "RS512"}}),
    ("wrong_algorithm", {"signing": {"alg": "PS256"}}),
]


@pytest.mark.parametrize(("why", "spoilt"), SPOILT)
def test_a_spoilt_token_is_refused(op: FakeProvider, why: str, spoilt: dict[str, Any]) -> None:
    guest = visitor()
    answer = come_back(guest, op, **spoilt)
    assert answer.status_code == 403 and b"You are not signed in" in answer.content
    assert reason() == why
    assert rows() == (0, 0, 0, 0) and not is_in(guest)


def test_a_good_one_is_taken_or_the_others_would_prove_nothing(op: FakeProvider) -> None:
    guest = visitor()
    come_back(guest, op, aud=[CLIENT], azp=CLIENT)
    assert is_in(guest)


def test_a_state_of_somebody_else_or_of_nobody_is_refused(op: FakeProvider) -> None:
    attacker, victim = visitor(), visitor()
    address = path_of(op.grant(leave(attacker)))
    for path in (address, "/oidc/callback/?code=x&state=made-up", "/oidc/callback/?code=x", "/oidc/callback/"):
        assert victim.get(path).status_code == 403
        assert reason() == "wrong_state"
    assert "/token" not in op.asked and rows() == (0, 0, 0, 0)


def test_a_state_is_good_once(op: FakeProvider) -> None:
    guest = visitor()
    address = path_of(op.grant(leave(guest)))
    assert guest.get(address).status_code == 302
    guest.post("/logout/")
    assert guest.get(address).status_code == 403 and not is_in(guest)


def test_a_sign_in_that_took_too_long_is_refused(op: FakeProvider) -> None:
    guest = visitor()
    address = path_of(op.grant(leave(guest)))
    session = guest.session
    for started in session["oidc_states"].values():
        started["added_on"] -= 3600
    session.save()
    assert guest.get(address).status_code == 403 and reason() == "expired"


@pytest.mark.parametrize("lost", [None, "", "a verifier of somebody else that is long enough to be one"])
def test_without_its_verifier_a_code_is_nothing(op: FakeProvider, lost: str | None) -> None:
    guest = visitor()
    address = path_of(op.grant(leave(guest)))
    session = guest.session
    for started in session["oidc_states"].values():
        started["code_verifier"] = lost
    session.save()
    assert guest.get(address).status_code == 403
    assert reason() == ("code_refused" if lost else "no_pkce") and rows() == (0, 0, 0, 0)


def test_a_provider_without_pkce_is_not_used(op: FakeProvider) -> None:
    op.changes = {"code_challenge_methods_supported": ["plain"]}
    answer = visitor().get("/oidc/authenticate/")
    assert answer.status_code == 403 and b"PKCE" in answer.content


def test_a_provider_that_calls_itself_otherwise_is_not_used(op: FakeProvider) -> None:
    op.changes = {"issuer": "https://evil.example"}
    assert visitor().get("/oidc/authenticate/").status_code == 403


@pytest.mark.parametrize("said", [None, "https://evil.example"])
def test_an_answer_of_another_issuer_is_refused(op: FakeProvider, said: str | None) -> None:
    op.changes = {"authorization_response_iss_parameter_supported": True}
    guest = visitor()
    address = path_of(op.grant(leave(guest))) + (f"&iss={said}" if said else "")
    assert guest.get(address).status_code == 403 and reason() == "wrong_issuer"
    assert "/token" not in op.asked


def test_the_providers_own_refusal_ends_no_session(op: FakeProvider) -> None:
    anna = visitor()
    come_back(anna, op)
    state = op.grant(leave(anna)).rpartition("state=")[2]
    answer = anna.get(f"/oidc/callback/?error=access_denied&state={state}")
    assert answer.status_code == 403 and reason() == "provider_refused"
    assert is_in(anna), "a stranger's link cannot sign anybody out"


def test_a_code_in_the_address_of_the_login_form_does_nothing(op: FakeProvider) -> None:
    make_user("bob", password="correct horse battery")
    guest = visitor()
    guest.post("/login/?code=x&state=y", {"username": "bob", "password": "wrong"})
    assert not is_in(guest) and op.asked == []


def test_nobody_is_made_of_a_refusal(op: FakeProvider) -> None:
    come_back(visitor(), op, nonce="wrong")
    assert not User.objects.exists()
