"""Eight clients at two hub processes on one PostgreSQL race for one assignment and one lock: one winner, every time."""

import asyncio
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.journeys.hub import AGENTHUB, Hub
from tests.journeys.machine import client_of
from tests.support import eventually

from .deployment import POSTGRES, REDIS, SECONDS

RACES = int(os.environ.get("AGENTHUB_FAULTS_RACES", "200"))
CLIENTS = 8
TOKENS = {f"agent-{n}": f"token-of-agent-{n}-0123456789" for n in range(CLIENTS)}
pytestmark = pytest.mark.timeout(1_200)
HEADERS = {"Accept": "application/json, text/event-stream"}


class TwoHubs:
    """Two web processes with homes of their own on one database, and agents that come by MCP."""

    def __init__(self, root: Path, database: str) -> None:
        base = {key: value for key, value in os.environ.items() if not key.startswith(("AGENTHUB_", "DJANGO_"))}
        self._base = base | {
            "AGENTHUB_DATABASE__URL": POSTGRES.rpartition("/")[0] + f"/{database}",
            "AGENTHUB_REDIS__URL": REDIS,
            "AGENTHUB_SERVER__LISTEN": "127.0.0.1:0",
            "AGENTHUB_SERVER__ENGINE": "uvicorn",
        }
        self.homes = [root / "a", root / "b"]
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        for home in self.homes:
            home.mkdir()
            environ = self._base | {"AGENTHUB_HOME": str(home)}
            if home is self.homes[0]:
                subprocess.run([*AGENTHUB, "prepare"], env=environ, check=True, timeout=SECONDS, capture_output=True)
            else:
                shutil.copytree(self.homes[0] / "pki", home / "pki")
            with (home / "web.log").open("ab") as log:
                command = [*AGENTHUB, "web", "--no-controlplane"]
                self.processes.append(subprocess.Popen(command, env=environ, stdout=log, stderr=log))
            eventually((home / "address").exists, SECONDS)
        self.urls = [f"http://{(home / 'address').read_text()}/mcp" for home in self.homes]
        self.operator = client_of(Hub(self.homes[0]))
        self.operator.post("/api/v1/projects/", {"slug": "race", "name": "Race"})
        agents = [{"name": name, "token": token} for name, token in TOKENS.items()]
        self.operator.post("/api/v1/agents/import/", {"project": "race", "agents": agents})
        limits = {"auto_approve": True, "max_simultaneous_assignments": 900}
        self.operator.patch("/api/v1/projects/race/limits/", limits)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait(SECONDS)


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[TwoHubs]:
    database = "agenthub_race"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {database}")
    two = TwoHubs(tmp_path, database)
    try:
        two.start()
        yield two
    finally:
        two.stop()
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


class Agents:
    """Each agent at one of the two hubs, by turns."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._http = httpx.AsyncClient(timeout=60, headers=HEADERS)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def call(self, number: int, tool: str, **arguments: Any) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        bearer = {"Authorization": f"Bearer {TOKENS[f'agent-{number}']}"}
        answer = await self._http.post(self._urls[number % len(self._urls)], json=body, headers=bearer)
        said: dict[str, Any] = json.loads(answer.json()["result"]["content"][0]["text"])
        return said

    async def race(self, tool: str, **arguments: Any) -> tuple[Counter[str], list[dict[str, Any]]]:
        told = await asyncio.gather(*(self.call(number, tool, **arguments) for number in range(CLIENTS)))
        return Counter(each.get("error", "won") for each in told), [each for each in told if each["ok"]]


async def test_one_of_eight_wins_over_two_hubs_every_time(hubs: TwoHubs) -> None:
    agents, numbers = Agents(hubs.urls), []
    plan = json.dumps({"assignments": [{"agent_id": None, "goal": "Be first"}]})
    for race in range(RACES):
        await agents.call(0, "task_draft_create", task_id=f"T-{race}", title="Race")
        made = await agents.call(0, "round_plan_submit", task_id=f"T-{race}", plan_json=plan)
        (item,) = (await agents.call(0, "assignment_list", round_id=made["round_id"]))["assignments"]
        outcomes, winners = await agents.race("assignment_claim", assignment_id=item["id"])
        assert outcomes == {"won": 1, "ASSIGNMENT_NOT_PENDING": CLIENTS - 1}, race
        outcomes, winners = await agents.race("lock_acquire", lock_key="the lock")
        assert outcomes == {"won": 1, "LOCK_CONFLICT": CLIENTS - 1}, race
        lock = winners[0]["lock"]
        numbers.append(lock["fencing_number"])
        holder = int(lock["holder_agent_id"].removeprefix("agent-"))
        assert (await agents.call(holder, "lock_release", lock_key="the lock"))["ok"]
    await agents.aclose()
    assert numbers == sorted(set(numbers)), "a fencing number was given twice"
