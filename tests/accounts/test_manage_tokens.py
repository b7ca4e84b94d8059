"""Tokens are told once, kept as digests, and end when they should."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.errors import AlreadyExists
from agenthub_site.accounts.models import Token, User
from agenthub_site.accounts.tokens import create_token, find_token, revoke_token
from audit.models import AuditEvent
from nodes.contract.errors import Forbidden, Invalid, InvalidToken, NotFound
from tests.factories import make_token


def test_a_token_is_told_once_and_kept_as_a_digest(alice: User) -> None:
    token, secret = create_token(alice, "laptop", actor_of(alice))
    assert secret.startswith(Token.PREFIX) and secret.startswith(token.hint)
    stored = Token.objects.values().get()
    assert secret not in str(stored) and stored["digest"] == Token.digest_of(secret)
    assert secret not in str(AuditEvent.objects.values().get())


def test_a_token_speaks_for_its_user(alice: User) -> None:
    assert find_token(make_token(alice)).user == alice


@pytest.mark.parametrize("field", ["expires_at", "revoked_at"])
def test_an_expired_or_revoked_token_is_refused(alice: User, field: str) -> None:
    secret = make_token(alice)
    Token.objects.update(**{field: timezone.now() - timedelta(seconds=1)})
    with pytest.raises(InvalidToken):
        find_token(secret)


def test_an_unknown_token_is_refused(alice: User) -> None:
    with pytest.raises(InvalidToken):
        find_token(make_token(alice) + "x")


def test_an_inactive_users_token_is_refused(alice: User) -> None:
    secret = make_token(alice)
    User.objects.update(is_active=False)
    with pytest.raises(InvalidToken):
        find_token(secret)


def test_use_is_noted_at_most_once_a_minute(alice: User) -> None:
    secret = make_token(alice)
    find_token(secret)
    first = Token.objects.get().last_used_at
    find_token(secret)
    assert first is not None and Token.objects.get().last_used_at == first
    Token.objects.update(last_used_at=first - timedelta(minutes=2))
    find_token(secret)
    assert Token.objects.filter(last_used_at__gte=first).exists()


def test_nobody_makes_a_token_for_another(alice: User, bob: User) -> None:
    with pytest.raises(Forbidden):
        create_token(alice, "laptop", actor_of(bob))


def test_an_expiry_in_the_past_is_refused(alice: User) -> None:
    with pytest.raises(Invalid):
        create_token(alice, "laptop", actor_of(alice), expires_at=timezone.now() - timedelta(days=1))


def test_a_name_is_one_valid_tokens(alice: User, bob: User) -> None:
    first, _ = create_token(alice, "laptop", actor_of(alice))
    create_token(bob, "laptop", actor_of(bob))
    with pytest.raises(AlreadyExists, match="alice has a token named laptop already"):
        create_token(alice, "laptop", actor_of(alice))
    revoke_token(first, actor_of(alice))
    second, _ = create_token(alice, "laptop", actor_of(alice))
    Token.objects.filter(pk=second.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert create_token(alice, "laptop", actor_of(alice))


@pytest.mark.django_db(transaction=True)
def test_of_two_tokens_of_one_name_at_once_one_is_made(alice: User) -> None:
    actor = actor_of(alice)

    def make(_: int) -> str:
        try:
            create_token(alice, "laptop", actor)
        except AlreadyExists as error:
            return error.code
        else:
            return "made"
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(make, range(4))) == ["already_exists"] * 3 + ["made"]


def test_revoking_twice_is_recorded_once(alice: User) -> None:
    make_token(alice)
    for _ in range(2):
        assert revoke_token(Token.objects.get(), actor_of(alice)).revoked_at
    assert AuditEvent.objects.filter(name="token.revoked").count() == 1


def test_anothers_token_cannot_be_seen_to_be_revoked(alice: User, bob: User) -> None:
    make_token(alice)
    with pytest.raises(NotFound):
        revoke_token(Token.objects.get(), actor_of(bob))
