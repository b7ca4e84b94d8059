"""A node's socket for ``agenthub actor``: whose token counts, and what becomes of a call when the link is cut."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from nodes.contract.ids import new_id
from nodes.link.errors import LinkClosed
from nodes.link.link import NodeEnd
from nodes.pb import link_pb2 as pb
from nodes.server import actors
from nodes.server.actor_calls import actor_directory, socket_in
from nodes.server.actors import ActorDoor
from nodes.server.holding import HeldRuns
from nodes.server.rundir import RunDir
from tests.support import eventually_async


@dataclass
class Link:
    """The hub's end, as the door sees it: what was sent over it."""

    sent: list[pb.ActorCall] = field(default_factory=list)
    is_cut: bool = False

    async def send(self, frame: pb.NodeFrame) -> None:
        if self.is_cut:
            raise LinkClosed
        self.sent.append(frame.actor_call)

    def answer(self, door: ActorDoor, number: int, *parts: bytes) -> None:
        for at, part in enumerate(parts, 1):
            door.answered(pb.ActorAnswer(id=self.sent[number].id, data=part, more=at < len(parts)))

    @property
    def end(self) -> NodeEnd:
        return cast("NodeEnd", self)


@dataclass
class Held:
    dir: RunDir
    is_live: bool = True


class Runs(dict[str, Held]):
    pass


@pytest.fixture
def run(home: Path) -> Held:
    directory = RunDir(home / "runs", str(new_id()))
    directory.make()
    directory.make_actor_token()
    return Held(directory)


@pytest.fixture
async def door(home: Path, run: Held) -> AsyncIterator[ActorDoor]:
    door = ActorDoor(actor_directory(home), cast("HeldRuns", Runs({run.dir.run_id: run})))
    await door.start()
    yield door
    await door.stop()


async def call(home: Path, run: Held, **fields: Any) -> Any:
    asked = {"run_id": run.dir.run_id, "token": run.dir.actor_token(), "verb": "inbox", "body": {}, **fields}
    return await say(home, json.dumps(asked).encode())


async def say(home: Path, line: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(socket_in(actor_directory(home)), limit=2**24)
    try:
        writer.write(line + b"\n")
        return json.loads(await asyncio.wait_for(reader.readline(), 20))
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_call_goes_to_the_hub_and_its_answer_back_in_parts(home: Path, door: ActorDoor, run: Held) -> None:
    link = Link()
    door.linked(link.end)
    asking = asyncio.create_task(call(home, run, verb="send", body={"to": ["Ärger"]}))
    await eventually_async(lambda: link.sent)
    sent = link.sent[0]
    assert (sent.run_id, sent.verb, json.loads(sent.body)) == (run.dir.run_id, "send", {"to": ["Ärger"]})
    link.answer(door, 0, b'{"result": ', b'{"n": 1}}')
    assert await asking == {"result": {"n": 1}}


async def test_a_call_that_lost_its_link_is_asked_again_on_the_next(home: Path, door: ActorDoor, run: Held) -> None:
    first, cut, second = Link(), Link(is_cut=True), Link()
    asking = asyncio.create_task(call(home, run))
    await asyncio.sleep(0.05)  # without any link it waits
    door.linked(first.end)
    await eventually_async(lambda: first.sent)
    door.unlinked(first.end)
    door.linked(cut.end)
    await asyncio.sleep(0.1)
    door.linked(second.end)
    door.unlinked(cut.end)  # late news of an older link
    await eventually_async(lambda: second.sent)
    second.answer(door, 0, b'{"result": 2}')
    assert await asking == {"result": 2}
    first.answer(door, 0, b'{"result": 1}')  # nobody waits for that any more


async def test_the_wait_for_a_link_is_bounded(
    home: Path, door: ActorDoor, run: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "CALL_SECONDS", 0.1)
    assert (await call(home, run))["error"]["code"] == "unavailable"


async def test_where_the_hub_was_asked_and_is_slow_the_outcome_is_unknown(
    home: Path, door: ActorDoor, run: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "CALL_SECONDS", 0.1)
    door.linked(Link().end)
    assert (await call(home, run))["error"]["code"] == "outcome_unknown"


async def test_a_run_that_asks_too_much_at_once_is_refused_and_no_other(
    home: Path, door: ActorDoor, run: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "RUN_CALLS", 2)
    link = Link()
    door.linked(link.end)
    asking = [asyncio.create_task(call(home, run)) for _ in range(2)]
    await eventually_async(lambda: len(link.sent) == 2)
    assert (await call(home, run))["error"]["code"] == "busy"
    other = asyncio.create_task(door.ask(str(new_id()), "inbox", b"{}"))
    await eventually_async(lambda: len(link.sent) == 3)
    for number in range(3):
        link.answer(door, number, b'{"result": 1}')
    assert await asyncio.gather(*asking) == [{"result": 1}] * 2
    assert await other == b'{"result": 1}'
    again = asyncio.create_task(call(home, run))
    await eventually_async(lambda: len(link.sent) == 4)
    link.answer(door, 3, b'{"result": 2}')
    assert await again == {"result": 2}


async def test_only_a_live_runs_own_token_counts(home: Path, door: ActorDoor, run: Held) -> None:
    for wrong in ({"token": ""}, {"token": "x" * 64}, {"token": "ü"}, {"run_id": str(new_id())}, {"run_id": "../../x"}):
        assert (await call(home, run, **wrong))["error"]["code"] == "bad_run_token"
    run.is_live = False
    assert (await call(home, run))["error"]["code"] == "bad_run_token"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "invalid"),
        (b"[]", "invalid"),
        (b"1", "invalid"),
        (b'{"run_id": 1}', "invalid"),
        (b"[" * 100_000, "invalid"),
        (b"\xff\xfe", "invalid"),
        (b"x" * 300_000, "too_large"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_what_is_no_call_is_refused_with_a_code(home: Path, door: ActorDoor, line: bytes, code: str) -> None:
    assert (await say(home, line))["error"]["code"] == code


async def test_an_answer_longer_than_is_taken_is_refused(
    home: Path, door: ActorDoor, run: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "ANSWER_BYTES", 10)
    link = Link()
    door.linked(link.end)
    asking = asyncio.create_task(call(home, run))
    await eventually_async(lambda: link.sent)
    link.answer(door, 0, b"x" * 11, b"y")
    assert (await asking)["error"]["code"] == "too_large"


async def test_a_new_node_server_takes_the_socket_over(home: Path, door: ActorDoor, run: Held) -> None:
    after = ActorDoor(actor_directory(home), cast("HeldRuns", Runs({run.dir.run_id: run})))
    await after.start()
    link = Link()
    after.linked(link.end)
    try:
        asking = asyncio.create_task(call(home, run))
        await eventually_async(lambda: link.sent)
        link.answer(after, 0, b'{"result": 3}')
        assert await asking == {"result": 3}
    finally:
        await after.stop()


async def connect(home: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(socket_in(actor_directory(home)))


async def told(reader: asyncio.StreamReader) -> str:
    """The code of a refusal, after which the connection is over."""
    code: str = json.loads(await asyncio.wait_for(reader.readline(), 10))["error"]["code"]
    assert await asyncio.wait_for(reader.read(), 10) == b""
    return code


async def test_who_shows_no_token_keeps_nobody_out(
    home: Path, door: ActorDoor, run: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "STRANGERS", 4)
    silent = [await connect(home) for _ in range(4)]
    link = Link()
    door.linked(link.end)
    asking = asyncio.create_task(call(home, run))
    await eventually_async(lambda: link.sent)
    link.answer(door, 0, b'{"result": 1}')
    assert await asking == {"result": 1}
    assert await told(silent[0][0]) == "busy"
    for _, writer in silent:
        writer.close()


async def test_a_token_is_shown_soon_or_the_connection_is_over(
    home: Path, door: ActorDoor, run: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "TOKEN_SECONDS", 0.05)
    reader, writer = await connect(home)
    assert await told(reader) == "bad_run_token"
    writer.close()
