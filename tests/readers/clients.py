"""Readers as other people's programs are: REST, SSE and WebSocket, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

Frame = tuple[str, Any]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


@asynccontextmanager
async def sse(
    http: httpx.AsyncClient, run: str, token: str | None, after: int = 0, *, last_event_id: int | None = None
) -> AsyncIterator[AsyncIterator[Frame]]:
    """Frames of a run's stream as (name, data); events have the name ``event``."""
    headers = bearer(token) if token else {}
    if last_event_id is not None:
        headers["Last-Event-ID"] = str(last_event_id)
    url = f"/api/v1/runs/{run}/events/stream"
    async with http.stream("GET", url, params={"after": after}, headers=headers) as response:
        response.raise_for_status()
        assert response.headers["content-type"] == "text/event-stream"
        yield _sse_frames(response)


async def _sse_frames(response: httpx.Response) -> AsyncIterator[Frame]:
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            data = json.loads(fields["data"])
            if "id" in fields:
                assert int(fields["id"]) == data["seq"]
            yield fields.get("event", "event"), data
            fields = {}


@asynccontextmanager
async def ws(address: str, path: str, token: str | None, **options: Any) -> AsyncIterator[ClientConnection]:
    headers = {**options.pop("headers", {}), **(bearer(token) if token else {})}
    async with connect(f"ws://{address}{path}", additional_headers=headers, **options) as socket:
        yield socket


async def ws_frame(socket: ClientConnection, timeout: float = 30) -> Frame:
    """The next frame as (key, value)."""
    async with asyncio.timeout(timeout):
        frame = json.loads(await socket.recv())
    ((name, data),) = frame.items()
    return name, data
