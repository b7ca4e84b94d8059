"""``/api/v1/tokens/``, and what a bearer token is good for."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agenthub_site.accounts.models import Token, User
from tests.api.clients import Api, refusal
from tests.factories import make_token

TOKENS = "/api/v1/tokens/"


def bearer(secret: str) -> Api:
    api = Api()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return api


def test_a_token_is_told_once_and_works(as_alice: Api) -> None:
    response = as_alice.post(TOKENS, {"name": "ci"})
    assert response.status_code == 201
    secret = response.json()["token"]
    assert bearer(secret).get("/api/v1/me/").json()["username"] == "alice"
    assert secret not in as_alice.get(TOKENS).content.decode()


def test_a_revoked_token_is_refused_from_then_on(as_alice: Api) -> None:
    made = as_alice.post(TOKENS, {"name": "ci"}).json()
    assert as_alice.delete(f"{TOKENS}{made['id']}/").status_code == 204
    assert refusal(bearer(made["token"]).get("/api/v1/me/")) == (401, "invalid_token")
    assert as_alice.get(f"{TOKENS}{made['id']}/").json()["revoked_at"]


@pytest.mark.parametrize("secret", ["aht_nonsense", "", "x" * 4_000])
def test_a_wrong_token_is_refused_and_says_how_to_authenticate(as_nobody: Api, db: None, secret: str) -> None:
    response = bearer(secret).get("/api/v1/me/")
    assert refusal(response) == (401, "invalid_token")
    assert response["WWW-Authenticate"] == "Bearer"


def test_an_expired_token_is_refused(alice: User) -> None:
    secret = make_token(alice, expires_at=timezone.now() - timedelta(seconds=1))
    assert refusal(bearer(secret).get("/api/v1/me/")) == (401, "invalid_token")


def test_no_token_is_told_apart_from_a_wrong_one(as_nobody: Api) -> None:
    assert refusal(as_nobody.get("/api/v1/me/")) == (401, "unauthenticated")


def test_tokens_are_their_owners_own(as_alice: Api, as_bob: Api, as_root: Api) -> None:
    made = as_alice.post(TOKENS, {"name": "ci"}).json()
    assert refusal(as_bob.delete(f"{TOKENS}{made['id']}/")) == (404, "not_found")
    assert made["id"] not in as_bob.get(TOKENS).content.decode()
    assert as_root.delete(f"{TOKENS}{made['id']}/").status_code == 204


def test_root_makes_tokens_for_others_and_others_do_not(as_root: Api, as_bob: Api, alice: User) -> None:
    assert as_root.post(TOKENS, {"name": "ci", "user": "alice"}).json()["user"] == "alice"
    assert refusal(as_bob.post(TOKENS, {"name": "ci", "user": "alice"})) == (403, "forbidden")
    assert refusal(as_bob.post(TOKENS, {"name": "ci", "user": "ghost"})) == (403, "forbidden")
    assert refusal(as_root.post(TOKENS, {"name": "ci", "user": "ghost"})) == (400, "invalid")


def test_a_token_made_with_a_token_does_not_outlive_it(alice: User) -> None:
    end = timezone.now() + timedelta(hours=1)
    api = bearer(make_token(alice, expires_at=end))
    made = api.post(TOKENS, {"name": "child"}).json()
    assert Token.objects.get(pk=made["id"]).expires_at == end
    longer = {"name": "child", "expires_at": (end + timedelta(days=1)).isoformat()}
    assert refusal(api.post(TOKENS, longer)) == (400, "invalid")


def test_an_expiry_in_the_past_is_refused(as_alice: Api) -> None:
    assert refusal(as_alice.post(TOKENS, {"name": "ci", "expires_at": "2020-01-01T00:00:00Z"})) == (400, "invalid")


@pytest.mark.parametrize("expires_at", ["9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z", "+275760-01-01", 4e18])
def test_an_expiry_that_no_calendar_has_is_refused(as_alice: Api, expires_at: object) -> None:
    assert refusal(as_alice.post(TOKENS, {"name": "ci", "expires_at": expires_at})) == (400, "invalid")


def test_a_token_of_the_same_name_is_a_conflict(as_alice: Api) -> None:
    assert as_alice.post(TOKENS, {"name": "ci"}).status_code == 201
    assert refusal(as_alice.post(TOKENS, {"name": "ci"})) == (409, "already_exists")


def test_a_repeat_with_the_same_key_does_not_tell_the_secret_again(as_alice: Api) -> None:
    first, second = (as_alice.post(TOKENS, {"name": "ci"}, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json()["token"] and second.json()["token"] is None
    assert second.json()["id"] == first.json()["id"]
