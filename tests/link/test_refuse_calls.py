"""Calls of agents beyond what the hub answers at once are refused, and nothing of them is kept."""

import asyncio
import json

import pytest

from agenthub_site import actor_calls
from agenthub_site.actor_calls import ActorCalls
from agenthub_site.actor_service import ERROR_BYTES, _as_metadata
from nodes.contract.errors import Invalid
from nodes.link.link import HubEnd
from nodes.pb.link_pb2 import ActorCall, HubFrame
from tests.link.parts import make_certificates


class Wire:
    """Lets all out, and notes it."""

    def __init__(self) -> None:
        self.left: list[HubFrame] = []
        self.refused = asyncio.Event()

    async def read(self) -> None:
        await asyncio.Event().wait()

    async def write(self, frame: HubFrame) -> None:
        self.left.append(frame)
        self.refused.set()

    async def finish(self) -> None:
        pass

    def abort(self) -> None:
        pass


async def test_a_call_too_many_is_refused_without_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_calls, "AT_ONCE", 0)
    node, wire = make_certificates().node, Wire()
    link = HubEnd(wire, "open", node)
    calls, tasks = ActorCalls(link, node.node_id), asyncio.all_tasks()
    calls.take(ActorCall(id="7", verb="send", body=b"x" * 100_000))
    assert asyncio.all_tasks() == tasks
    await asyncio.wait_for(wire.refused.wait(), 30)
    answer = wire.left[0].actor_answer
    assert (answer.id, json.loads(answer.data)["error"]["code"]) == ("7", "unavailable")
    await link.aclose()
    calls.take(ActorCall(id="8", verb="send"))  # after the end: nobody hears it, and nothing breaks


async def test_a_run_with_too_many_calls_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_calls, "RUN_CALLS", 1)
    monkeypatch.setattr(ActorCalls, "_answer", lambda *_: asyncio.sleep(60))
    node, wire = make_certificates().node, Wire()
    link = HubEnd(wire, "open", node)
    calls = ActorCalls(link, node.node_id)
    for id_, run_id in (("1", "a"), ("2", "a"), ("3", "b")):
        calls.take(ActorCall(id=id_, run_id=run_id, verb="send"))
    await asyncio.wait_for(wire.refused.wait(), 30)
    assert [frame.actor_answer.id for frame in wire.left] == ["2"]
    await calls.stop()
    await link.aclose()


def test_a_refusal_that_is_too_long_for_metadata_is_cut_and_stays_json() -> None:
    short, long = Invalid("No."), Invalid("Ü" * 5_000, fields={"x": ["y" * 9_000]})
    assert json.loads(_as_metadata(short)) == short.as_json()
    said = _as_metadata(long)
    assert len(said) <= ERROR_BYTES
    assert json.loads(said)["error"]["code"] == "invalid"
