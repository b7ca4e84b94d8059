"""Who is behind an ASGI scope: a token's user, a session's, the operator's; and from where."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.test import Client

from agenthub_site.accounts.actors import ActorKind
from agenthub_site.accounts.address import client_address
from agenthub_site.accounts.authentication import OPERATOR_EXTENSION, actor_from_scope, actor_of
from agenthub_site.accounts.models import Role, User
from nodes.contract.errors import InvalidToken, Unauthenticated
from tests.factories import PASSWORD, make_project, make_root, make_token, make_user

pytestmark = pytest.mark.django_db(transaction=True)


def scope(extensions: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
    return {
        "type": "http",
        "client": ("127.0.0.1", 50_000),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "extensions": extensions or {},
    }


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["agenthub_session"].value


def test_an_actor_has_its_roles_from_one_query(django_assert_num_queries: Any) -> None:
    project = make_project(bob=Role.DEVELOPER)
    bob = make_user("bob")
    with django_assert_num_queries(1):
        assert actor_of(bob).roles == {project.pk: Role.DEVELOPER}


async def test_nobody_is_nobody() -> None:
    assert await actor_from_scope(scope()) is None


async def test_a_bearer_speaks_for_its_user() -> None:
    secret = await sync_to_async(make_token)()
    actor = await actor_from_scope(scope(authorization=f"Bearer {secret}", user_agent="curl"))
    assert actor and (actor.kind, actor.label, actor.address, actor.user_agent) == (
        ActorKind.USER, "alice", "127.0.0.1", "curl",
    )  # fmt: skip


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer aht_wrong", "bearer " + "x" * 300])
async def test_a_bad_bearer_is_refused_and_not_taken_for_nobody(header: str) -> None:
    with pytest.raises(InvalidToken):
        await actor_from_scope(scope(authorization=header))


def test_a_session_speaks_for_its_user() -> None:
    cookie = session_of(make_user("alice"))
    actor = async_to_sync(actor_from_scope)(scope(cookie=f"theme=dark; agenthub_session={cookie}"))
    assert actor and actor.label == "alice"


def test_a_session_ends_with_its_password_its_account_or_its_cookie() -> None:
    alice = make_user("alice", password=PASSWORD)
    cookie = session_of(alice)
    find = async_to_sync(actor_from_scope)
    assert find(scope(cookie="agenthub_session=forged")) is None
    User.objects.update(is_active=False)
    assert find(scope(cookie=f"agenthub_session={cookie}")) is None
    User.objects.update(is_active=True)
    alice.set_password("another horse entirely")
    alice.save()
    assert find(scope(cookie=f"agenthub_session={cookie}")) is None


async def test_the_operators_socket_speaks_for_root() -> None:
    await sync_to_async(make_root)()
    actor = await actor_from_scope(scope({OPERATOR_EXTENSION: {"pid": 1, "uid": 0}}))
    assert actor and actor.is_root and actor.label == "root"


async def test_without_a_root_the_operators_socket_says_what_to_do() -> None:
    with pytest.raises(Unauthenticated, match="agenthub up"):
        await actor_from_scope(scope({OPERATOR_EXTENSION: {"pid": 1, "uid": 0}}))


async def test_a_header_cannot_claim_to_be_the_operator() -> None:
    assert await actor_from_scope(scope(agenthub_operator="1")) is None


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("10.0.0.1", "1.2.3.4", [], "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.9", ["10.0.0.0/8"], "1.2.3.4"),
        ("9.9.9.9", "1.2.3.4", ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", "<script>", ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "", ["10.0.0.0/8"], "10.0.0.1"),
        ("", "1.2.3.4", ["10.0.0.0/8"], ""),
    ],
)
def test_an_address_is_believed_of_trusted_proxies_only(
    peer: str, forwarded: str, trusted: list[str], address: str
) -> None:
    assert client_address(peer, forwarded, trusted) == address
