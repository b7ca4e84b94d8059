"""Calls of agents beyond what the hub answers at once are refused, and nothing of them is kept."""

import asyncio
import json

import pytest

from agenthub_site import actor_calls
from agenthub_site.actor_calls import ActorCalls
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
    await asyncio.wait_for(wire.refused.wait(), 5)
    answer = wire.left[0].actor_answer
    assert (answer.id, json.loads(answer.data)["error"]["code"]) == ("7", "unavailable")
    await link.aclose()
    calls.take(ActorCall(id="8", verb="send"))  # after the end: nobody hears it, and nothing breaks
