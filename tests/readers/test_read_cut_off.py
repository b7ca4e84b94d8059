"""A reader may be cut off at any moment and miss nothing: what it has equals the database exactly."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.readers.clients import bearer, sse, ws, ws_frame
from tests.readers.conftest import HubProcess
from tests.support import eventually_async

EVENTS = 10_000
CUTS = 200

Read = Callable[[HubProcess, httpx.AsyncClient, int, int], Awaitable[tuple[list[dict[str, Any]], bool]]]


async def read_rest(hub: HubProcess, http: httpx.AsyncClient, after: int, most: int) -> tuple[list[Any], bool]:
    url = f"/api/v1/runs/{hub.run}/events"
    while True:
        answer = await http.get(url, params={"after": after, "limit": most}, headers=bearer(hub.alice))
        page = answer.raise_for_status().json()
        is_over = page["state"] == "succeeded" and page["next"] == page["last_seq"]
        if page["results"] or is_over:
            return page["results"], is_over


async def read_sse(hub: HubProcess, http: httpx.AsyncClient, after: int, most: int) -> tuple[list[Any], bool]:
    events: list[Any] = []
    async with sse(http, hub.run, hub.alice, last_event_id=after) as frames:
        async for name, data in frames:
            if name == "end":
                return events, True
            events += [data] if name == "event" else []
            if len(events) >= most:
                return events, False
    raise AssertionError("The stream ended by itself, without its end.")


async def read_ws(hub: HubProcess, _: httpx.AsyncClient, after: int, most: int) -> tuple[list[Any], bool]:
    events: list[Any] = []
    async with ws(hub.address, f"/ws/runs/{hub.run}/?after={after}", hub.alice) as socket:
        while len(events) < most:
            name, data = await ws_frame(socket, 30)
            if name == "end":
                return events, True
            events += data if name == "events" else []
        socket.transport.abort()
    return events[:most], False  # cut in the middle of a frame: the rest of it never arrived


async def read_to_the_end(read: Read, hub: HubProcess, http: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Cut off ``CUTS`` times after a random number of events, then read to the end."""
    seen: list[dict[str, Any]] = []
    cuts, is_over = 0, False
    while not is_over:
        most = random.randint(1, EVENTS // CUTS) if cuts < CUTS else 5_000
        events, is_over = await read(hub, http, seen[-1]["seq"] if seen else 0, most)
        seen += events
        cuts += 1
    assert cuts > CUTS
    return seen


async def test_readers_cut_off_two_hundred_times_equal_the_database(
    any_hub: HubProcess, http: httpx.AsyncClient
) -> None:
    hub = any_hub
    hub.tell("append", run=hub.run, count=EVENTS, batch=37, end=True, pause=0.02)
    readers = [read_to_the_end(read, hub, http) for read in (read_rest, read_sse, read_ws)]
    async with asyncio.timeout(100):
        lists = await asyncio.gather(*readers)
    assert hub.answer() == EVENTS
    rows = hub.ask("stored", run=hub.run)
    assert [seq for seq, _, _ in rows] == list(range(1, EVENTS + 1))
    for seen in lists:
        assert [(event["seq"], event["type"]) for event in seen] == [(seq, type_) for seq, type_, _ in rows]
        assert [event["payload"] for event in seen] == [json.loads(text) for _, _, text in rows]
    await eventually_async(lambda: hub.ask("watched") == 0)


async def test_a_reader_from_the_future_is_told_of_the_gap(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    any_hub.append(3)
    async with sse(http, any_hub.run, any_hub.alice, after=10) as frames:
        names = [await anext(frames), await anext(frames)]
    assert names[1] == ("stream.gap", {"after": 10, "next": 4})


async def test_missing_rows_are_told_as_a_gap_and_skipped(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    any_hub.append(10)
    any_hub.ask("delete_events", run=any_hub.run, seqs=[4, 5, 6])
    async with ws(any_hub.address, f"/ws/runs/{any_hub.run}/", any_hub.alice) as socket:
        frames = [await ws_frame(socket) for _ in range(4)]
    assert [event["seq"] for event in frames[1][1]] == [1, 2, 3]
    assert frames[2] == ("stream.gap", {"after": 3, "next": 7})
    assert [event["seq"] for event in frames[3][1]] == [7, 8, 9, 10]


async def test_reading_goes_on_while_the_bell_is_silent(any_hub: HubProcess, http: httpx.AsyncClient) -> None:
    async with sse(http, any_hub.run, any_hub.alice) as frames:
        assert (await anext(frames))[0] == "state"
        await asyncio.to_thread(any_hub.append, 5, feed=False, ring=False)
        async with asyncio.timeout(60):
            seen = [await anext(frames) for _ in range(5)]
    assert [data["seq"] for _, data in seen] == [1, 2, 3, 4, 5]
