"""Signing in by the provider: a session of ours, an account of one's own, and nobody else's."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.conf import settings
from django.core.cache import cache

from agenthub_site.accounts.models import User
from agenthub_site.accounts.oidc import provider as provider_module
from agenthub_site.accounts.oidc.models import Identity
from audit.models import AuditEvent
from tests.factories import PASSWORD, make_user
from tests.fakes.provider import FakeProvider

from .oidc import come_back, is_in, leave, path_of, reason, rows, visitor

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_attempts_yet(db: None) -> None:
    cache.clear()


def test_a_new_person_gets_an_account_without_projects_and_rights(op: FakeProvider) -> None:
    anna = visitor()
    key = anna.session.session_key
    answer = come_back(anna, op, preferred_username="Anna.Ash", email="anna@example.org", groups=["root", "admins"])
    assert answer["Location"] == "/runs/" and is_in(anna)
    user = User.objects.get()
    assert (user.username, user.email, user.is_superuser, user.has_usable_password()) == (
        "anna.ash", "anna@example.org", False, False,
    )  # fmt: skip
    assert not user.memberships.exists()
    assert anna.session.session_key != key
    names = list(AuditEvent.objects.order_by("id").values_list("name", flat=True))
    assert names == ["user.created", "identity.linked", "user.logged_in"]


def test_the_same_person_comes_back_to_the_same_account_whatever_their_name_is_now(op: FakeProvider) -> None:
    come_back(visitor(), op, preferred_username="anna")
    again = visitor()
    come_back(again, op, preferred_username="annabel", email="other@example.org")
    assert again.get("/api/v1/me/").json()["username"] == "anna"
    assert User.objects.count() == 1


def test_what_the_id_token_leaves_out_is_asked_for_and_must_be_of_the_same_person(op: FakeProvider) -> None:
    op.userinfo = {"sub": "somebody-else", "preferred_username": "root"}
    assert come_back(visitor(), op).status_code == 403
    assert reason() == "wrong_userinfo" and rows() == (0, 0, 0, 0)
    op.userinfo = {"sub": "anna-42", "preferred_username": "anna"}
    come_back(visitor(), op)
    assert User.objects.get().username == "anna"


@pytest.mark.parametrize("claims", [
    {"email": "BOB@example.org", "email_verified": True, "preferred_username": "robert"},
    {"preferred_username": "bob"},
    {"preferred_username": "Bob"},
    {"email": "bob@evil.example"},
])  # fmt: skip
def test_nobody_gets_into_an_account_by_an_address_or_a_name(op: FakeProvider, claims: dict[str, Any]) -> None:
    make_user("bob")
    guest = visitor()
    answer = come_back(guest, op, **claims)
    assert answer.status_code == 409 and b"link the provider there" in answer.content
    assert not is_in(guest) and rows() == (1, 0, 0, 0)
    assert reason() == "account_clash"


def test_two_people_of_one_name_at_the_provider_are_two_here(op: FakeProvider) -> None:
    for subject in ("a", "b", "c"):
        come_back(visitor(), op, sub=subject, preferred_username="anna")
    assert sorted(User.objects.values_list("username", flat=True)) == ["anna", "anna-2", "anna-3"]


@pytest.mark.parametrize(("told", "name"), [
    ({"preferred_username": "../../etc/<b>Eve</b>\x00"}, "etc-b-eve-b"),
    ({"preferred_username": "@@@", "email": "eve.x@example.org"}, "eve.x"),
    ({"name": "Ève Ünal"}, "ve-nal"),
    ({}, "user"),
])  # fmt: skip
def test_names_are_made_of_letters_that_names_have(op: FakeProvider, told: dict[str, Any], name: str) -> None:
    come_back(visitor(), op, **told)
    assert User.objects.get().username == name


def test_a_hub_that_makes_no_accounts_says_so(op: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.CONFIG.oidc, "create_users", False)
    answer = come_back(visitor(), op)
    assert answer.status_code == 403 and b"does not know you yet" in answer.content
    assert rows() == (0, 0, 0, 0)


def test_who_was_made_inactive_does_not_come_in(op: FakeProvider) -> None:
    come_back(visitor(), op)
    User.objects.update(is_active=False)
    guest = visitor()
    assert come_back(guest, op).status_code == 403
    assert reason() == "inactive" and not is_in(guest)


def test_the_way_there_has_what_protects_the_way_back(op: FakeProvider) -> None:
    asked = dict(parse_qsl(urlsplit(leave(visitor())).query))
    assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == 43 and len(asked["state"]) >= 32 and len(asked["nonce"]) >= 32
    assert asked["redirect_uri"] == "http://localhost/oidc/callback/"


def test_a_foreign_address_to_go_on_to_is_not_taken(op: FakeProvider) -> None:
    anna = visitor()
    back = anna.get(path_of(op.grant(leave(anna, "https://evil.example/"))))
    assert back["Location"] == "/"


def test_a_known_person_is_not_asked_for_twice_and_metadata_is_kept(op: FakeProvider) -> None:
    for _ in range(3):
        come_back(visitor(), op)
    assert op.asked.count("/.well-known/openid-configuration") == 1 and op.asked.count("/jwks") == 1


def test_keys_turn(op: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    come_back(visitor(), op)
    op.keys = ["ec-2"]
    monkeypatch.setattr(provider_module, "REFETCH_SECONDS", 0.0)
    anna = visitor()
    come_back(anna, op, signing={"by": "ec-2"})
    assert is_in(anna)


def test_unknown_keys_do_not_make_the_hub_ask_and_ask(op: FakeProvider) -> None:
    come_back(visitor(), op)
    for number in range(5):
        assert come_back(visitor(), op, signing={"kid": f"made-up-{number}"}).status_code == 403
    assert op.asked.count("/jwks") == 1


def test_a_person_links_the_provider_from_within_and_looks_at_it_first(op: FakeProvider) -> None:
    bob = make_user("bob", password=PASSWORD)
    inside = visitor()
    inside.post("/login/", {"username": "bob", "password": PASSWORD})
    assert inside.get("/oidc/link/")["Location"].startswith("/account/confirm/"), "only after a fresh sign-in"
    inside.post("/account/confirm/", {"password": PASSWORD, "next": "/oidc/link/"})
    back = inside.get(path_of(op.grant(inside.get("/oidc/link/")["Location"], email="bob@example.org")))
    assert back["Location"] == "/oidc/link/confirm/" and not Identity.objects.exists()
    assert b"bob@example.org" in inside.get("/oidc/link/confirm/").content
    inside.post("/oidc/link/confirm/")
    assert Identity.objects.get().user == bob
    outside = visitor()
    come_back(outside, op)
    assert outside.get("/api/v1/me/").json()["username"] == "bob"
    inside.post("/oidc/unlink/")
    assert not Identity.objects.exists() and is_in(inside) and not is_in(outside)


def test_an_identity_is_one_users_alone(op: FakeProvider) -> None:
    come_back(visitor(), op)
    make_user("bob", password=PASSWORD)
    inside = visitor()
    inside.post("/login/", {"username": "bob", "password": PASSWORD})
    inside.post("/account/confirm/", {"password": PASSWORD, "next": "/oidc/link/"})
    inside.get(path_of(op.grant(inside.get("/oidc/link/")["Location"])))
    page = inside.post("/oidc/link/confirm/", follow=True)
    assert b"belongs to another account" in page.content
    assert Identity.objects.get().user.username == "user"


def test_somebody_with_a_second_factor_demanded_needs_the_providers_word_for_it(
    op: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.CONFIG.login, "require_mfa", "all")
    assert come_back(visitor(), op)["Location"] == "/login/set-up/"
    anna = visitor()
    assert come_back(anna, op, amr=["pwd", "mfa"])["Location"] == "/runs/" and is_in(anna)


def test_signing_out_offers_the_provider_too(op: FakeProvider) -> None:
    anna = visitor()
    come_back(anna, op)
    page = anna.post("/logout/").content.decode()
    assert f"{op.issuer}/end?client_id=agenthub" in page and "id_token_hint=" in page
    assert not is_in(anna)


def test_without_a_provider_there_is_no_door(client: Any) -> None:
    assert client.get("/oidc/authenticate/", SERVER_NAME="localhost").status_code == 404
    assert b"/oidc/" not in client.get("/login/", SERVER_NAME="localhost").content
