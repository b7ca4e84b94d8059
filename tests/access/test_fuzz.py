"""Nothing of a foreign project is ever read: requests at random, with true ids of both projects mixed."""

import logging
import random
import uuid
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from django.test import Client

from agenthub_site.accounts.models import Role

from . import collect
from .doors import DOORS, PUBLIC
from .test_matrix import in_one_connection, live  # noqa: F401  (a fixture)
from .world import Who, World, make_callers, make_world

pytestmark = pytest.mark.django_db
CANARY = "cormorant"
REQUESTS = 400
QUERIES = (
    "project", "agent", "run", "node", "user", "approval", "like", "id", "state", "after", "before", "limit", "cursor",
    "live", "archived", "find", "q", "search", "stream", "kind", "actor", "object", "slug", "next", "since", "until",
)  # fmt: skip


def a_request(dice: random.Random, key: str, ids: list[Any]) -> tuple[str, str]:
    method, path = key.split(" ", 1)
    parts = [str(dice.choice(ids)) if part.startswith("{") else part for part in path.split("/")]
    query = "&".join(f"{dice.choice(QUERIES)}={dice.choice(ids)}" for _ in range(dice.choice((0, 0, 1, 1, 2))))
    return method, "/".join(parts) + (f"?{query}" if query else "")


@pytest.mark.matrix
@pytest.mark.usefixtures("in_one_connection")
def test_no_answer_ever_has_anything_of_a_foreign_project() -> None:
    own, foreign = make_world("harbour", "curlew"), make_world("pier", CANARY)
    everybody = make_callers(own, foreign)
    callers = [who for who in everybody if who.role in (Role.OWNER, "service", "agent", Role.VIEWER)]
    root = next(who for who in everybody if who.role == "root")
    whole = read(root, "GET", f"/api/v1/runs/{foreign.things['run']}/", signed_in(root))
    assert CANARY.encode() in whole, "What nobody could find proves nothing."
    ids = mixed(own, foreign)
    readable = sorted(key for key, door in DOORS.items() if key.startswith(("GET", "WS")) and door.to is not PUBLIC)
    assert set(readable) <= {*collect.django_doors(), *collect.live_doors()}
    seed = random.SystemRandom().randrange(2**32)
    dice = random.Random(seed)
    sessions = {who.secret: signed_in(who) for who in callers}
    cache.clear()
    logging.disable(logging.WARNING)
    try:
        for number in range(REQUESTS):
            key = readable[number % len(readable)]
            who = dice.choice(callers)
            method, address = a_request(dice, key, ids)
            answer = read(who, method, address, sessions[who.secret])
            told = f"{who.role} read it by {method} {address} (seed {seed}): {answer[:500]!r}"
            assert CANARY.encode() not in answer, told
    finally:
        logging.disable(logging.NOTSET)


def mixed(own: World, foreign: World) -> list[Any]:
    things = [*own.things.values(), *foreign.things.values()]
    # Sorted, so that a seed says it all; without names that have the canary, which a refusal may repeat.
    return [
        *sorted({str(thing) for thing in things if CANARY not in str(thing)}),
        uuid.uuid4(),
        0,
        1,
        "last",
        "true",
        "all",
    ]


def signed_in(who: Who) -> Client:
    client = Client(SERVER_NAME="localhost", raise_request_exception=False)
    if who.user is not None:
        client.force_login(who.user)
    return client


def read(who: Who, method: str, address: str, session: Client) -> bytes:
    path, _, query = address.partition("?")
    if method == "WS" or "/events" in path:
        return live(who, method, path, query.encode())[1]
    is_rest = path.startswith("/api/")
    headers = {"authorization": f"Bearer {who.secret}"} if is_rest or who.user is None else {}
    with transaction.atomic():
        response: Any = session.get(address, headers=headers)
        content = b"".join(response.streaming_content) if response.streaming else response.content
        transaction.set_rollback(True)
    return bytes(content)
