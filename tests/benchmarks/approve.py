"""From an answer's commit to the runtime going on: REST, outbox, link, node, supervisor and back, by the hub's clocks.

The times are the hub's and the node's of one machine: ``decided_at`` (within the transaction, so that the commit is
counted in) to ``occurred_at`` of the runtime's next record. The limit is a bare commit that is synced to the disk.
"""

import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from tests.benchmarks.figures import Figure, percentiles, say
from tests.benchmarks.hub import create_agent, running_hub, start_run

ANSWERS = 100
AIM_MS = (50.0, 250.0)
SECONDS = 60.0


def bare_syncs_ms(home: Path) -> tuple[float, float]:
    """Append a command's worth of bytes and sync: what no decision can be faster than, twice (hub and node)."""
    taken = []
    with (home / "bare").open("ab") as file:
        for _ in range(ANSWERS):
            began = time.perf_counter()
            for _ in range(2):
                file.write(b"x" * 512)
                file.flush()
                os.fsync(file.fileno())
            taken.append((time.perf_counter() - began) * 1_000)
    return percentiles(taken)


def answer_one(client: httpx.Client, agent: str) -> float:
    """Milliseconds from the decision to the first thing that the runtime did after it."""
    run = start_run(client, agent, "@ask shell @say thank you")["id"]
    deadline = time.monotonic() + SECONDS
    while not (asked := _get(client, f"/api/v1/approvals/?run={run}&state=open")["results"]):
        if time.monotonic() > deadline:
            raise SystemExit(f"run {run} asked nothing within {SECONDS:.0f} s")
        time.sleep(0.02)
    url = f"/api/v1/runs/{run}/approvals/{asked[0]['id']}/decide/"
    decided = client.post(url, json={"option_id": asked[0]["options"][0]["option_id"]}).raise_for_status().json()
    while True:
        events = _get(client, f"/api/v1/runs/{run}/events?limit=1000")["results"]
        resolved = next((n for n, event in enumerate(events) if event["type"] == "run.approval.resolved"), None)
        after = events[resolved + 1 :] if resolved is not None else []
        went_on = next((event for event in after if event["type"].startswith(("run.tool.", "run.message."))), None)
        if went_on:
            return (_at(went_on["occurred_at"]) - _at(decided["decided_at"])) * 1_000
        if time.monotonic() > deadline:
            raise SystemExit(f"run {run} did not go on within {SECONDS:.0f} s")
        time.sleep(0.02)


def _get(client: httpx.Client, path: str) -> Any:
    return client.get(path).raise_for_status().json()


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    with running_hub() as hub, hub.client() as client:
        agent = create_agent(client, "answered", preset="scripted")
        answer_one(client, agent)  # everything is warm
        p50, p99 = percentiles([answer_one(client, agent) for _ in range(ANSWERS)])
        bare50, bare99 = bare_syncs_ms(hub.home)
    say(
        Figure(
            f"approval decided → runtime continues, {ANSWERS} answers, p50 / p99",
            f"{p50:.0f} / {p99:.0f} ms",
            f"{bare50:.1f} / {bare99:.1f} ms (two syncs)",
            f"{AIM_MS[0]:.0f} / {AIM_MS[1]:.0f} ms",
            p50 < AIM_MS[0] and p99 < AIM_MS[1],
        )
    )


if __name__ == "__main__":
    main()
