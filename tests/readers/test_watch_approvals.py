"""Approvals over live sockets: how many wait, told when it changes, and answered there."""

import json
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.readers.clients import bearer, ws, ws_frame
from tests.readers.conftest import HubProcess

PATH = "/ws/approvals/"


async def waiting(socket: ClientConnection, number: int) -> None:
    """Until the socket says that so many wait."""
    while (await ws_frame(socket))[1] != {"waiting": number}:
        pass


async def answer(socket: ClientConnection, **fields: str) -> tuple[str, Any]:
    await socket.send(json.dumps({"answer": fields}))
    while True:
        name, data = await ws_frame(socket)
        if name in ("answered", "refused"):
            return name, data


async def test_a_question_is_told_and_answered_over_the_socket(any_hub: HubProcess) -> None:
    hub = any_hub.with_new_run()
    async with ws(hub.address, PATH, hub.alice) as socket, ws(hub.address, PATH, hub.known["charlie"]) as charlies:
        before = (await ws_frame(socket))[1]["waiting"]
        asked = hub.ask("ask_approval", run=hub.run)
        await waiting(socket, before + 1)
        name, refused = await answer(charlies, approval_id=asked, option_id="yes", key="c")
        assert (name, refused["key"], refused["error"]["code"]) == ("refused", "c", "not_found")
        name, told = await answer(socket, approval_id=asked, option_id="yes", key="k1")
        assert (name, told["key"], told["state"], told["by"]["label"]) == ("answered", "k1", "decided", "alice")
        await waiting(socket, before)
        async with ws(hub.address, f"/ws/runs/{hub.run}/", hub.alice) as runs:
            name, refused = await answer(runs, approval_id=asked, outcome="cancelled", key="k2")
        assert (refused["error"]["code"], refused["error"]["data"]["by"]["label"]) == ("already_decided", "alice")


async def test_a_runs_socket_answers_for_that_run_alone(any_hub: HubProcess) -> None:
    asked = any_hub.ask("ask_approval", run=any_hub.run)
    other = any_hub.with_new_run().run
    async with ws(any_hub.address, f"/ws/runs/{other}/", any_hub.alice) as socket:
        _, refused = await answer(socket, approval_id=asked, option_id="yes")
    assert refused["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "said", ["[]", "{", '{"answer": {"approval_id": 1}}', '{"answer": {"x": "y"}}', '{"other": {}}']
)
async def test_what_is_no_answer_is_refused_by_name(any_hub: HubProcess, said: str) -> None:
    async with ws(any_hub.address, PATH, any_hub.alice) as socket:
        await socket.send(said)
        while (frame := await ws_frame(socket))[0] != "refused":
            pass
    assert frame[1]["error"]["code"] == "invalid"


async def test_a_page_of_another_origin_cannot_answer_by_a_session(any_hub: HubProcess) -> None:
    cookie = {"Cookie": f"agenthub_session={any_hub.ask('open_session', username='alice')}"}
    with pytest.raises(InvalidStatus):
        async with ws(any_hub.address, PATH, None, headers={**cookie, "Origin": "https://evil.example"}):
            pass
    own = {**cookie, "Origin": f"http://{any_hub.address}"}
    async with ws(any_hub.address, PATH, None, headers=own) as socket:
        assert (await ws_frame(socket))[0] == "approvals"


async def test_a_wrong_token_is_told_and_closed(any_hub: HubProcess) -> None:
    async with ws(any_hub.address, PATH, "aht_wrong") as socket:
        assert (await ws_frame(socket))[1]["code"] == "invalid_token"


async def test_the_number_comes_by_sse_as_well(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    async with http.stream("GET", "/api/v1/approvals/stream", headers=bearer(any_hub.alice)) as response:
        lines = response.aiter_lines()
        assert [line async for line in _first(lines, 4)][2] == "event: approvals"
    assert (await http.get("/api/v1/approvals/stream")).status_code == 401


async def _first(lines: Any, count: int) -> Any:
    async for line in lines:
        yield line
        count -= 1
        if not count:
            return
