"""What a live reader is told, and when."""

import asyncio

import httpx

from tests.readers.clients import bearer, numbers, sse, ws, ws_frame
from tests.readers.conftest import HubProcess


async def test_the_state_comes_first_on_every_connect(hub: HubProcess, http: httpx.AsyncClient) -> None:
    hub.append(2)
    expected = {"run": hub.run, "state": "running", "reason": "", "last_seq": 2}
    for _ in range(2):
        async with sse(http, hub.run, hub.alice) as frames:
            assert await anext(frames) == ("state", expected)
        async with ws(hub.address, f"/ws/runs/{hub.run}/?after=2", hub.alice) as socket:
            assert await ws_frame(socket) == ("state", expected)


async def test_an_event_arrives_whole_in_its_envelope(hub: HubProcess, http: httpx.AsyncClient) -> None:
    async with sse(http, hub.run, hub.alice) as frames, ws(hub.address, f"/ws/runs/{hub.run}/", hub.alice) as socket:
        await anext(frames), await ws_frame(socket)
        hub.append(1, size=3)
        _, event = await anext(frames)
        _, (same,) = await ws_frame(socket)
    assert event == same
    assert event.pop("occurred_at") <= event.pop("recorded_at")
    assert event.pop("agent") and event.pop("user") and event.pop("project") == hub.known["project"]
    assert event == {
        "id": f"{hub.run}:1",
        "type": "run.message.delta",
        "version": 1,
        "run": hub.run,
        "seq": 1,
        "payload": {"message_id": "m1", "text": "1 häuser xxx"},
    }


async def test_a_stream_ends_after_the_runs_ending(hub: HubProcess, http: httpx.AsyncClient) -> None:
    async with sse(http, hub.run, hub.alice) as frames, ws(hub.address, f"/ws/runs/{hub.run}/", hub.alice) as socket:
        hub.append(3, end=True)
        seen = [frame async for frame in frames]
        told = [await ws_frame(socket)]
        while told[-1][0] != "end":
            told.append(await ws_frame(socket))
        await socket.wait_closed()
    assert seen[-1][0] == "end" and seen[-1][1]["state"] == "succeeded"
    assert [data["seq"] for name, data in seen if name == "event"] == [1, 2, 3]
    assert socket.close_code == 1000


async def test_a_stream_of_an_ended_run_is_read_to_its_end_at_once(
    any_hub: HubProcess, http: httpx.AsyncClient
) -> None:
    any_hub.append(3, end=True)
    async with sse(http, any_hub.run, any_hub.alice, last_event_id=1) as frames:
        names = [name async for name, _ in frames]
    assert names == ["state", "event", "event", "end"]


async def test_a_change_of_state_is_told(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    async with sse(http, any_hub.run, any_hub.alice) as frames:
        assert (await anext(frames))[1]["state"] == "running"
        any_hub.ask("change_state", run=any_hub.run, state="waiting", reason="approval")
        (_, event), (name, state) = await anext(frames), await anext(frames)
    assert event["type"] == "run.state.changed"
    assert (name, state["state"], state["reason"]) == ("state", "waiting", "approval")


async def test_last_event_id_wins_over_after(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    any_hub.append(5)
    async with sse(http, any_hub.run, any_hub.alice, after=1, last_event_id=4) as frames:
        seen = [await anext(frames), await anext(frames)]
    assert seen[1][1]["seq"] == 5


async def test_a_page_says_where_the_next_begins(hub: HubProcess, http: httpx.AsyncClient) -> None:
    hub.append(700)
    url = f"/api/v1/runs/{hub.run}/events"
    first = (await http.get(url, headers=bearer(hub.alice))).json()
    rest = (await http.get(url, params={"after": first["next"], "limit": 5000}, headers=bearer(hub.alice))).json()
    assert (first["next"], first["last_seq"], first["state"]) == (500, 700, "running")
    assert numbers(first["results"] + rest["results"]) == list(range(1, 701))
    assert rest["next"] == rest["last_seq"] == 700


async def test_a_page_of_large_events_is_cut_short_and_goes_on(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    any_hub.append(600, size=30_000)
    seen: list[int] = []
    while len(seen) < 600:
        after = seen[-1] if seen else 0
        url = f"/api/v1/runs/{any_hub.run}/events"
        page = await http.get(url, params={"after": after, "limit": 5000}, headers=bearer(any_hub.alice))
        assert len(page.content) < 20_000_000
        seen += numbers(page.json()["results"])
    assert seen == list(range(1, 601))


async def test_a_project_tells_what_happens_in_it(hub: HubProcess) -> None:
    project = hub.known["project"]
    async with ws(hub.address, f"/ws/projects/{project}/", hub.alice) as socket:
        name, beat = await ws_frame(socket)
        assert name == "heartbeat"
        number = hub.ask("note", project=project, name="run.cancelled")
        _, (entry,) = await ws_frame(socket)
    assert (entry["number"], entry["name"]) == (number, "run.cancelled") == (beat["number"] + 1, "run.cancelled")
    assert entry["actor"] == {"kind": "system", "id": "system", "label": "AgentHub"}
    async with ws(hub.address, f"/ws/projects/{project}/?after={number - 1}", hub.alice) as socket:
        frames = [await ws_frame(socket), await ws_frame(socket)]
    assert frames[1] == ("events", [entry])


async def test_who_may_not_read_the_trail_gets_what_becomes_of_runs(hub: HubProcess) -> None:
    project = hub.known["project"]
    async with ws(hub.address, f"/ws/projects/{project}/", hub.known["bob"]) as socket:
        assert (await ws_frame(socket))[0] == "heartbeat"
        for name in ("token.created", "member.added", "access.refused"):
            hub.ask("note", project=project, name=name)
        number = hub.ask("note", project=project, name="run.cancelled")
        _, (entry,) = await ws_frame(socket)
    assert (entry["number"], entry["name"]) == (number, "run.cancelled") and "actor" not in entry


async def test_many_readers_of_one_run_all_get_everything(hub: HubProcess, http: httpx.AsyncClient) -> None:
    async def read() -> list[int]:
        seen: list[int] = []
        async with ws(hub.address, f"/ws/runs/{hub.run}/", hub.alice) as socket:
            while True:
                name, data = await ws_frame(socket, 30)
                seen += numbers(data) if name == "events" else []
                if name == "end":
                    return seen

    readers = [asyncio.create_task(read()) for _ in range(50)]
    await asyncio.to_thread(hub.append, 2_000, batch=20, end=True)
    for seen in await asyncio.gather(*readers):
        assert seen == list(range(1, 2_001))
