"""How soon mail is noticed: by who waits for it by long poll, and by an idle agent, which a run is started for."""

import threading
import time
from datetime import datetime
from typing import Any

import httpx

from tests.benchmarks.figures import Figure, percentiles, say
from tests.benchmarks.hub import Hub, create_agent, running_hub, wait_for_end

POLLS = 100
WAKES = 20
AIM_MS = 500.0
PAUSE_SECONDS = 0.05
"""Until the next is sent: whoever waits has to be waiting again."""


def polled_ms(hub: Hub, client: httpx.Client, sleeper: str) -> list[float]:
    """From a send's answer to the receiver's, in milliseconds; 0 where the receiver was told first."""
    token = client.post(f"/api/v1/agents/{sleeper}/tokens/", json={"name": "bench"}).raise_for_status().json()["token"]
    heard: list[float] = []
    is_heard = threading.Event()

    def listen() -> None:
        with httpx.Client(base_url=hub.address, headers={"Authorization": f"Bearer {token}"}, timeout=60) as own:
            while len(heard) < POLLS:
                mails = own.post("/api/v1/inbox/receive", json={"wait": 30, "limit": 1}).raise_for_status().json()
                if mails["results"]:
                    heard.append(time.perf_counter())
                    own.post("/api/v1/inbox/ack", json={"message_ids": [mails["results"][0]["number"]]})
                    is_heard.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    taken = []
    for _ in range(POLLS):
        time.sleep(PAUSE_SECONDS)
        is_heard.clear()
        send(client, sleeper)
        sent = time.perf_counter()
        if not is_heard.wait(60):
            raise SystemExit("nothing was heard for a minute")
        taken.append(max(0.0, heard[-1] - sent) * 1_000)
    listener.join(60)
    return taken


def woken_ms(client: httpx.Client, agent: str) -> list[float]:
    """From when a message was stored to when its run was started, in milliseconds; the agent was idle each time."""
    taken = []
    for _ in range(WAKES):
        sent = send(client, agent)
        until = time.monotonic() + 60
        while not (run := newest_run(client, agent, sent["created_at"])):
            if time.monotonic() > until:
                raise SystemExit("no run was started for a minute")
            time.sleep(PAUSE_SECONDS)
        taken.append(seconds_between(sent["created_at"], run["created_at"]) * 1_000)
        wait_for_end(client, run["id"])
    return taken


def newest_run(client: httpx.Client, agent: str, after: str) -> dict[str, Any] | None:
    runs = client.get("/api/v1/runs/", params={"agent": agent, "limit": 5}).raise_for_status().json()["results"]
    found: list[dict[str, Any]] = [run for run in runs if run["created_at"] >= after]
    return found[0] if found else None


def seconds_between(first: str, second: str) -> float:
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()


def send(client: httpx.Client, agent: str) -> dict[str, Any]:
    body = {"project": "demo", "to": [f"agent:{agent}"], "payload": {"text": "Wake up"}}
    sent: dict[str, Any] = client.post("/api/v1/messages", json=body).raise_for_status().json()
    return sent


def main() -> None:
    with running_hub() as hub, hub.client() as client:
        listener = create_agent(client, "listener", preset="scripted", runtime="acp")
        sleeper = create_agent(client, "sleeper", preset="scripted", runtime="acp", wake_on_mail=True)
        for what, taken in (
            ("a long poll is answered", polled_ms(hub, client, listener)),
            ("an idle agent's run is started", woken_ms(client, sleeper)),
        ):
            middle, slow = percentiles(taken)
            value = f"p50 {middle:.0f} ms, p99 {slow:.0f} ms"
            say(Figure(f"wake-up: {what}", value, "", f"p99 {AIM_MS:.0f} ms", slow <= AIM_MS))


if __name__ == "__main__":
    main()
