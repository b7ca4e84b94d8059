"""F17: a hundred conflicting answers to one approval at once, by three doors; and an answer while the node is away."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from integrations.cli.client import Client, HubRefused
from tests.journeys.hub import Hub
from tests.readers.clients import ws, ws_frame
from tests.support import eventually

from .deployment import hub_on

ANSWERS = 100
COMMANDS = 10
"""Of them by the command line, each a process; the rest by REST and sockets, half and half."""


@pytest.fixture(params=["sqlite", "postgresql"])
def hub(request: pytest.FixtureRequest, home: Path) -> Iterator[Hub]:
    with hub_on(request.param, home) as hub:
        yield hub


def ask(client: Client) -> tuple[str, Any]:
    """A run that waits for an answer, and its question."""
    run = client.post("/api/v1/runs/", {"agent": "demo", "prompt": "@write answer.txt @say thank you"})["id"]
    eventually(lambda: client.get("/api/v1/approvals/", run=run, state="open")["results"], 60)
    return run, client.get("/api/v1/approvals/", run=run, state="open")["results"][0]


def state_of(client: Client, approval: str) -> str:
    return str(client.get(f"/api/v1/approvals/{approval}/")["state"])


@pytest.mark.timeout(300)
def test_of_a_hundred_conflicting_answers_one_wins_and_the_others_are_told(hub: Hub) -> None:
    client = Client.over_socket(hub.home / "hub.sock")
    run, asked = ask(client)
    options = [option["option_id"] for option in asked["options"]]
    address, token = (
        hub.told["address"].partition("://")[2],
        json.loads(hub.cli("token", "create", "f17", "--json").stdout),
    )

    def by_rest(number: int) -> str:
        url = f"/api/v1/runs/{run}/approvals/{asked['id']}/decide/"
        try:
            client.post(url, {"option_id": options[number % len(options)]})
        except HubRefused as error:
            assert error.body["error"]["data"]["by"]["label"] == "root"
            return error.code
        return "won"

    def by_command(number: int) -> str:
        told = hub.cli("approve", asked["id"], "--option", options[number % len(options)], "--json")
        if told.returncode == 0:
            return "won"
        error = json.loads(told.stdout)["error"]
        assert error["data"]["by"]["label"] == "root"  # a command that starts late is told who won as well
        return str(error["code"])

    async def by_socket(number: int) -> str:
        async with ws(address, "/ws/approvals/", token["token"]) as socket:
            answer = {"approval_id": asked["id"], "option_id": options[number % len(options)], "key": str(number)}
            await socket.send(json.dumps({"answer": answer}))
            while (frame := await ws_frame(socket, 60))[0] not in ("answered", "refused"):
                pass
            assert frame[1]["key"] == str(number)
            return "won" if frame[0] == "answered" else frame[1]["error"]["code"]

    async def all_sockets(count: int) -> list[str]:
        return await asyncio.gather(*(by_socket(number) for number in range(count)))

    each = (ANSWERS - COMMANDS) // 2
    with ThreadPoolExecutor(24) as threads:
        sockets = threads.submit(lambda: asyncio.run(all_sockets(each)))
        others = [threads.submit(by_rest, number) for number in range(each)]
        others += [threads.submit(by_command, number) for number in range(COMMANDS)]
        told = Counter([*sockets.result(), *(other.result() for other in others)])
    assert told == {"won": 1, "already_decided": ANSWERS - 1}
    eventually(lambda: state_of(client, asked["id"]) == "applied", 60)


@pytest.mark.timeout(300)
def test_an_answer_while_the_node_is_away_is_applied_on_its_return(hub: Hub) -> None:
    client = Client.over_socket(hub.home / "hub.sock")
    run, asked = ask(client)
    node = hub.child("node")
    os.kill(node, signal.SIGSTOP)
    try:
        assert hub.cli("approve", run, "--allow").returncode == 0
        assert state_of(client, asked["id"]) == "decided"
    finally:
        os.kill(node, signal.SIGCONT)
    eventually(lambda: state_of(client, asked["id"]) == "applied", 90)
    eventually(lambda: client.get(f"/api/v1/runs/{run}/")["state"] == "succeeded", 60)
    told = client.get(f"/api/v1/approvals/{asked['id']}/")
    assert told["decided_at"] < told["resolved_at"] and told["decided_by"]["label"] == "root"
