"""Reading a run of 100,000 events: its first page, and the whole of it, over REST and SSE."""

import os
import time

import httpx

from tests.benchmarks.figures import Figure, percentiles, say
from tests.benchmarks.hub import create_agent, running_hub, start_run, wait_for_end

EVENTS = 100_000
PAGE = 5_000


def main() -> None:
    with running_hub() as hub, hub.client() as client:
        agent = create_agent(client, "long", preset="scripted")
        began = time.perf_counter()
        run = start_run(client, agent, f"@events {EVENTS} rate 0")["id"]
        ended = wait_for_end(client, run, 500)
        say(Figure("history: one agent writes 100,000 events", f"{time.perf_counter() - began:.1f} s"))
        bare, _ = percentiles([_seconds(client, "/healthz") * 1000 for _ in range(50)])
        limit = f"GET /healthz {bare:.1f} ms"
        first, worst = percentiles([_seconds(client, f"/api/v1/runs/{run}/events?limit=500") * 1000 for _ in range(50)])
        say(Figure("history: first page (500 events), p50", f"{first:.1f} ms", limit))
        say(Figure("history: first page (500 events), p99", f"{worst:.1f} ms", limit))
        seconds, count, size = _pages(client, run)
        assert count == ended["last_seq"], f"{count} events were read of {ended['last_seq']}"
        say(Figure("history: the whole, REST pages", f"{seconds:.1f} s, {count / seconds:,.0f} events/s"))
        seconds, count = _stream(client, run)
        assert count == ended["last_seq"], f"{count} events were streamed of {ended['last_seq']}"
        say(
            Figure(
                "history: the whole, SSE", f"{seconds:.1f} s, {count / seconds:,.0f} events/s", f"{size / 1e6:.0f} MB"
            )
        )


def _seconds(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    client.get(path).raise_for_status()
    return time.perf_counter() - began


def _pages(client: httpx.Client, run: str) -> tuple[float, int, int]:
    began, after, count, size = time.perf_counter(), 0, 0, 0
    while True:
        answer = client.get(f"/api/v1/runs/{run}/events", params={"after": after, "limit": PAGE}).raise_for_status()
        page = answer.json()
        if not page["results"]:
            return time.perf_counter() - began, count, size
        count, size, after = count + len(page["results"]), size + len(answer.content), page["results"][-1]["seq"]


def _stream(client: httpx.Client, run: str) -> tuple[float, int]:
    began, count = time.perf_counter(), 0
    with client.stream("GET", f"/api/v1/runs/{run}/events/stream") as answer:
        for line in answer.iter_lines():
            count += line.startswith("id:")
    return time.perf_counter() - began, count


if __name__ == "__main__":
    os.environ.setdefault("AGENTHUB_ADMIN_PASSWORD", "benchmarks only 1")
    main()
