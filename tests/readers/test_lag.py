"""A reader that lags is bounded by itself; nobody else notices."""

import asyncio
import json
import socket
import time

import httpx

from tests.readers.clients import sse, ws, ws_frame
from tests.readers.conftest import HubProcess

EVENTS = 6_000
SIZE = 8_000
"""48 MB in all: far more than any buffer between the hub and its reader may hold."""


def connect_without_reading(hub: HubProcess) -> socket.socket:
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    host, _, port = hub.address.rpartition(":")
    deaf.connect((host, int(port)))
    deaf.sendall(
        f"GET /api/v1/runs/{hub.run}/events/stream HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {hub.alice}\r\nConnection: close\r\n\r\n".encode()
    )
    return deaf


async def test_a_deaf_reader_costs_little_and_gets_all_when_it_listens(
    hub: HubProcess, http: httpx.AsyncClient
) -> None:
    before = hub.ask("memory")
    with connect_without_reading(hub) as deaf:
        async with ws(hub.address, f"/ws/runs/{hub.run}/", hub.alice, max_size=2**24) as slow:  # reads one frame, waits
            assert (await ws_frame(slow))[0] == "state"
            async with sse(http, hub.run, hub.alice) as frames:
                hub.tell("append", run=hub.run, count=EVENTS, batch=100, size=SIZE, end=True)
                lively = [data["seq"] async for name, data in frames if name == "event"]
            assert await asyncio.to_thread(hub.answer) == EVENTS
            assert lively == list(range(1, EVENTS + 1))
            assert hub.ask("memory") - before < 60_000_000
            assert await asyncio.to_thread(read_all, deaf) == lively
            assert await read_socket(slow) == lively


async def test_a_reader_that_is_late_gets_what_was_sent_before_the_close(hub: HubProcess) -> None:
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    host, _, port = hub.address.rpartition(":")
    small.connect((host, int(port)))
    async with ws(hub.address, f"/ws/runs/{hub.run}/", hub.alice, sock=small, max_queue=1) as late:
        assert (await ws_frame(late))[0] == "state"
        hub.append(100, size=1_000, end=True)
        time.sleep(2.5)  # the whole client, its answers to pings and closes too
        assert await read_socket(late) == list(range(1, 101))


def read_all(deaf: socket.socket) -> list[int]:
    """The numbers of all events, in the order they come."""
    deaf.settimeout(30)
    with deaf.makefile("rb") as lines:
        return [int(line[4:]) for line in lines if line.startswith(b"id: ")]


async def read_socket(slow: object) -> list[int]:
    seen: list[int] = []
    async for text in slow:  # type: ignore[attr-defined]
        seen += [event["seq"] for event in json.loads(text).get("events", ())]
    return seen
