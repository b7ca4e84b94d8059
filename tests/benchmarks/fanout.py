"""One busy run to many sockets: 100 subscribers of it, beside 1,000 of runs that are silent.

The limit is what one process of this machine writes to as many local sockets, in frames of the same size.
"""

import asyncio
import json
import os
import resource
import socket
import time

import websockets

from tests.benchmarks.figures import Figure, say
from tests.benchmarks.hub import Hub, create_agent, running_hub, start_run

BUSY = 100
IDLE = 1_000
EVENTS = 20_000


async def count(hub: Hub, run: str) -> int:
    """Read one socket to the run's end; how many events it brought."""
    seen = 0
    url = f"{hub.socket_address}/ws/runs/{run}/?after=0"
    async with websockets.connect(
        url, additional_headers=hub.headers, max_size=None, open_timeout=120, compression=None
    ) as connection:
        async for text in connection:
            seen += str(text).count('"seq":')
    return seen


async def open_idle(hub: Hub, run: str, few: asyncio.Semaphore) -> websockets.ClientConnection:
    """A socket of a silent run, once it has said the run's state."""
    url = f"{hub.socket_address}/ws/runs/{run}/?after=0"
    async with few:
        connection = await websockets.connect(url, additional_headers=hub.headers, open_timeout=120, compression=None)
        await connection.recv()
    return connection


async def measure(hub: Hub) -> None:
    with hub.client() as client:
        agent = create_agent(client, "busy", preset="scripted")
        silent = start_run(client, agent, "@delay 600")["id"]
        few, began = asyncio.Semaphore(20), time.perf_counter()
        waiting = await asyncio.gather(*(open_idle(hub, silent, few) for _ in range(IDLE)))
        say(Figure("fan-out: idle sockets opened", f"{IDLE:,} in {time.perf_counter() - began:.1f} s"))
        run = start_run(client, agent, f"@delay 5 @events {EVENTS} rate 0")["id"]
        began = time.perf_counter()
        seen = await asyncio.gather(*(count(hub, run) for _ in range(BUSY)))
        seconds = time.perf_counter() - began - 5
        whole = client.get(f"/api/v1/runs/{run}/").json()["last_seq"]
        assert set(seen) == {whole}, "a subscriber missed something"
        client.post(f"/api/v1/runs/{silent}/cancel/")
        await asyncio.gather(*(connection.close() for connection in waiting))
    rate = sum(seen) / seconds
    limit = f"bare sockets {bare_events_per_second():,.0f} events/s"
    say(Figure("fan-out: 100 busy beside 1,000 idle sockets", f"{rate:,.0f} events/s delivered", limit))


def bare_events_per_second(events_per_frame: int = 100, frames: int = 300) -> float:
    """One process writes the same frames to 100 local sockets and reads them back."""
    payload = json.dumps({"events": ["x" * 550] * events_per_frame}).encode()
    pairs = [socket.socketpair() for _ in range(BUSY)]
    began = time.perf_counter()
    for _ in range(frames):
        for left, right in pairs:
            left.sendall(payload)
            got = 0
            while got < len(payload):
                got += len(right.recv(1 << 20))
    for left, right in pairs:
        left.close()
        right.close()
    return frames * BUSY * events_per_frame / (time.perf_counter() - began)


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    with running_hub() as hub:
        asyncio.run(measure(hub))


if __name__ == "__main__":
    os.environ.setdefault("AGENTHUB_ADMIN_PASSWORD", "benchmarks only 1")
    main()
