"""Every door, by each role, in its own and in a foreign project: who is let in, and who is told what."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator, MutableMapping
from http.cookies import SimpleCookie
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.cache import cache
from django.db import connections, transaction
from django.test import Client

from agenthub_site import asgi
from agenthub_site.accounts.models import Role
from agenthub_site.accounts.permissions import CAPABILITIES, TABLE, Can
from agents import reading
from mailboxes.writer import Writer

from . import collect
from .doors import ADMIN_FOR_ALL, DOORS, GRPC, LIVE, MACHINE, ONESELF, OWN, PAGES, PUBLIC, REST, SIGNED_IN, Door
from .world import Who, World, make_callers, make_world

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]
LET_IN, MUST_SIGN_IN, FORBIDDEN, UNKNOWN = "let in", "must sign in", "forbidden", "unknown"
SWITCHED = 101
OURS, THEIRS = "their own", "a foreign"


@pytest.fixture
def own() -> World:
    return make_world("harbour", "curlew")


@pytest.fixture
def foreign() -> World:
    return make_world("pier", "cormorant")


@pytest.fixture
def callers(own: World, foreign: World) -> list[Who]:
    return make_callers(own, foreign)


@pytest.fixture
def in_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers' threads would not see what the test has not committed."""

    async def in_thread(function: Any, *args: Any) -> Any:
        return await sync_to_async(function)(*args)

    for module in [
        each for each in list(sys.modules.values()) if getattr(each, "in_thread", None) is reading.in_thread
    ]:
        monkeypatch.setattr(module, "in_thread", in_thread)

    async def write_async(self: Writer, work: Any, item: Any) -> Any:
        return await sync_to_async(self.write)(work, item)

    monkeypatch.setattr(Writer, "write_async", write_async)

    # Doors beside Django give the connection back after each use, and the test's transaction would go with it.
    monkeypatch.setattr(connections["default"], "close", lambda: None)


def test_every_door_is_classified() -> None:
    found = {*collect.django_doors(), *collect.live_doors()}
    missing = sorted(found - DOORS.keys())
    assert not missing, "Say to whom these open, in tests/access/doors.py (its head says how):\n" + "\n".join(missing)
    assert not sorted(DOORS.keys() - found), "These doors are gone: take them out of tests/access/doors.py."


def test_every_grpc_method_is_classified() -> None:
    assert sorted(collect.grpc_methods()) == sorted(GRPC), "Say who may call it, in tests/access/doors.py."


@pytest.mark.matrix
def test_rest_opens_to_those_it_should(own: World, foreign: World, callers: list[Who]) -> None:
    check(REST, callers, own, foreign, knock_with_token)


@pytest.mark.matrix
def test_pages_open_to_those_they_should(own: World, foreign: World, callers: list[Who]) -> None:
    check(PAGES, callers, own, foreign, knock_with_session)


@pytest.mark.matrix
@pytest.mark.usefixtures("in_one_connection")
def test_live_doors_open_to_those_they_should(own: World, foreign: World, callers: list[Who]) -> None:
    check(LIVE, callers, own, foreign, knock_live)


@pytest.mark.matrix
def test_the_registry_is_roots_alone(own: World, callers: list[Who]) -> None:
    wrong = []
    for key in collect.registry_doors():
        method, path = key.split(" ", 1)
        if path in ADMIN_FOR_ALL:
            continue
        address = own.fill_registry(path)
        for who in callers:
            is_root = who.role == "root"
            if who.scope is not None or who.role == "service" or (is_root and (method == "POST" or "{" in path)):
                continue  # what root does there, tests/admin/ knows
            status = knock_with_session(who, method, address, {})
            if (status not in (200, 302, 403, 404)) if is_root else (status not in (401, 403, 404)):
                wrong.append(f"{key} by {who.role}: {status}")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.matrix
def test_the_registrys_actions_are_roots_alone(own: World, callers: list[Who]) -> None:
    wrong = []
    for address, action in collect.registry_actions():
        for who in callers:
            if who.role != "root" and who.scope is None:
                body = {"action": action, "_selected_action": [str(own.things["token"])], "post": "yes"}
                status = knock_with_session(who, "POST", address, body)
                if status != 401:
                    wrong.append(f"{action} at {address} by {who.role}: {status}")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


# How one is tried.


def check(doors: dict[str, Door], callers: list[Who], own: World, foreign: World, knock: Any) -> None:
    """Try all, and fail with what went otherwise than the table says."""
    wrong = []
    for key, door in doors.items():
        method, path = key.split(" ", 1)
        for who in tried_by(door, callers, is_page=doors is PAGES):
            worlds = [(OURS, own)]
            is_in_a_project = door.to is OWN or (isinstance(door.to, Can) and TABLE[door.to].roles)
            if is_in_a_project and who.role not in ("outsider", "anonymous"):
                worlds.append((THEIRS, foreign))
            for whose, world in worlds:
                hoped = expected(door, who, whose, is_page=doors is PAGES)
                status = knock(who, method, world.fill(path) + world.body(door.query), world.body(door.body))
                if not fits(door, hoped, status):
                    wrong.append(f"{key} of {whose} project by {described(who)}: {hoped} expected, got {status}")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def tried_by(door: Door, callers: list[Who], *, is_page: bool) -> list[Who]:
    """All, but for those who can be told apart from others by nothing that the door knows."""
    if door.to is PUBLIC:
        return callers[:1]
    some = callers
    if door.to in (SIGNED_IN, ONESELF):  # no role matters where there is no project
        some = [who for who in some if who.role not in (Role.REVIEWER, Role.DEVELOPER, Role.MAINTAINER)]
    if is_page:  # pages do not look at tokens: one stands for all that come with one
        some = [who for who in some if who.role != "service" and who.scope is None]
    return some


def described(who: Who) -> str:
    return who.role if who.scope is None else f"{who.role} with a token of scope read"


def expected(door: Door, who: Who, whose: str, *, is_page: bool) -> str:
    """What the declared classification makes of this caller: derived from ``permissions.TABLE``."""
    if door.to in (PUBLIC, MACHINE):
        return LET_IN
    if who.role == "anonymous" or (is_page and who.user is None):
        return MUST_SIGN_IN
    scope = who.scope if not is_page else None
    outside = scope is not None and (door.scope or (door.to if isinstance(door.to, Can) else Can.VIEW)) not in scope
    is_foreign = whose == THEIRS or who.role == "outsider"
    if door.to is OWN:
        if who.role == "root":
            return LET_IN if door.root else UNKNOWN
        is_mine = who.role == Role.OWNER and not is_foreign
        return UNKNOWN if not is_mine else FORBIDDEN if outside else LET_IN
    if who.role == "root":
        return LET_IN
    if isinstance(door.to, Can) and TABLE[door.to].roles and is_foreign:
        return UNKNOWN
    if outside or who.role in door.never:
        return FORBIDDEN
    if door.to in (SIGNED_IN, ONESELF):
        return LET_IN
    role = Role.DEVELOPER if who.role == "service" else who.role
    return LET_IN if door.to in CAPABILITIES.get(role, ()) else FORBIDDEN


def fits(door: Door, hoped: str, status: int) -> bool:
    if hoped == LET_IN and door.to is ONESELF:
        return status < 500 and status != 401
    if hoped == LET_IN:
        return status in door.ok if door.ok else 400 <= status < 404 if door.to is MACHINE else is_open(status)
    if hoped == MUST_SIGN_IN:
        return status == 401
    return status in (door.refused or ((403,) if hoped == FORBIDDEN else (404,)))


def is_open(status: int) -> bool:
    return 200 <= status < 400 or status == SWITCHED


_client = Client(SERVER_NAME="localhost", raise_request_exception=False)
"""One for all: each would make all of Django's middleware anew, which takes longer than the requests."""
_cookies: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _nothing_of_other_tests() -> Iterator[None]:
    cache.clear()
    _cookies.clear()
    logging.disable(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.test.client.store_rendered_templates", lambda *_, **__: None)  # copies all of a context
        yield
    logging.disable(logging.NOTSET)


def knock_with_token(who: Who, method: str, address: str, body: Any) -> int:
    return ask(who, method, address, json.dumps(body or {}), content_type="application/json")


def knock_with_session(who: Who, method: str, address: str, body: Any) -> int:
    """401 stands for being sent to sign in. Who may have no session shows a token, which pages do not look at."""
    if who.user is not None and who.secret not in _cookies:
        signing_in = Client(SERVER_NAME="localhost")
        signing_in.force_login(who.user)
        _cookies[who.secret] = signing_in.cookies
    return ask(who, method, address, body or {}, has_session=who.user is not None)


def ask(who: Who, method: str, address: str, body: Any, *, has_session: bool = False, **sent: Any) -> int:
    """The status; what was done is undone."""
    _client.cookies = _cookies[who.secret].copy() if has_session else SimpleCookie()
    headers = {"authorization": f"Bearer {who.secret}"} if who.secret and not has_session else {}
    given = {} if method == "GET" else {"data": body, **sent}
    undone = transaction.atomic()
    vars(undone)["_from_testcase"] = True  # what is durable by itself has to take this for no transaction of ours
    with undone:
        response = getattr(_client, method.lower())(address, headers=headers, **given)
        transaction.set_rollback(True)
    if response.status_code == 302 and "/login/" in response["Location"] and "next=" in response["Location"]:
        return 401
    return int(response.status_code)


def knock_live(who: Who, method: str, address: str, body: Any) -> int:
    with transaction.atomic():
        status, _ = live(who, method, address, body=b"" if body is None else json.dumps(body).encode())
        transaction.set_rollback(True)
    return status


def live(who: Who, method: str, address: str, query: bytes = b"", body: bytes = b"") -> tuple[int, bytes]:
    """The status of a hot door or a socket (4404 is 404), and what it says first."""
    headers = [(b"host", b"localhost")]
    if who.secret:
        headers.append((b"authorization", f"Bearer {who.secret}".encode()))
    is_socket = method == "WS"
    scope = {
        "type": "websocket" if is_socket else "http", "method": method, "path": address, "query_string": query,
        "headers": headers, "client": ("127.0.0.1", 1), "scheme": "http", "subprotocols": [],
    }  # fmt: skip
    return async_to_sync(_live)(scope, is_socket, body)


async def _live(scope: dict[str, Any], is_socket: bool, body: bytes) -> tuple[int, bytes]:
    sent: list[MutableMapping[str, Any]] = []
    heard = asyncio.Event()
    asked: Iterator[MutableMapping[str, Any]] = iter(
        [{"type": "websocket.connect"}] if is_socket else [{"type": "http.request", "body": body}]
    )

    async def receive() -> MutableMapping[str, Any]:
        if (message := next(asked, None)) is not None:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        said = b"".join(_said(each) for each in sent)
        is_enough = said and (b'"error"' not in said or not is_socket)
        if is_enough or message["type"] == "websocket.close":
            heard.set()

    serving = asyncio.create_task(asgi.dispatch(scope, receive, send))
    hearing = asyncio.create_task(heard.wait())
    await asyncio.wait([serving, hearing], timeout=30, return_when=asyncio.FIRST_COMPLETED)
    for task in (serving, hearing):
        task.cancel()
    await asyncio.gather(serving, hearing, return_exceptions=True)
    said = b"".join(_said(each) for each in sent)
    closed = next((each["code"] for each in sent if each["type"] == "websocket.close"), None)
    status = next((each["status"] for each in sent if each["type"] == "http.response.start"), SWITCHED)
    return (closed - 4000 if closed and closed >= 4400 else status), said


def _said(message: MutableMapping[str, Any]) -> bytes:
    if message["type"] == "websocket.send":
        return str(message.get("text") or "").encode()
    return bytes(message.get("body", b""))
