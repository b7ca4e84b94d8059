"""Eight clients race for one assignment and one lock, on SQLite and at two hubs on one PostgreSQL: one winner."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .hubs import Hubs, mcp_body, mcp_said, new_hubs

RACES = int(os.environ.get("AGENTHUB_FAULTS_RACES", "200"))
CLIENTS = 8
pytestmark = pytest.mark.timeout(1_200)
HEADERS = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(params=["sqlite", "postgresql"])
def hubs(request: pytest.FixtureRequest, home: Path) -> Iterator[Hubs]:
    with new_hubs(home, request.param) as hubs:
        agents = [f"agent-{number}" for number in range(CLIENTS)]
        hubs.prepare(agents, auto_approve=True, max_simultaneous_assignments=900)
        yield hubs


class Agents:
    """Each agent at one of the hubs, by turns."""

    def __init__(self, hubs: Hubs) -> None:
        self._hubs = hubs
        self._http = httpx.AsyncClient(timeout=60, headers=HEADERS)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def call(self, number: int, tool: str, **arguments: Any) -> dict[str, Any]:
        url = self._hubs.urls[number % len(self._hubs.urls)]
        bearer = {"Authorization": f"Bearer {self._hubs.tokens[f'agent-{number}']}"}
        return mcp_said(await self._http.post(f"{url}/mcp", json=mcp_body(tool, **arguments), headers=bearer))

    async def race(self, tool: str, **arguments: Any) -> tuple[Counter[str], list[dict[str, Any]]]:
        told = await asyncio.gather(*(self.call(number, tool, **arguments) for number in range(CLIENTS)))
        return Counter(each.get("error", "won") for each in told), [each for each in told if each["ok"]]


async def test_one_of_eight_wins_every_time(hubs: Hubs) -> None:
    agents, numbers = Agents(hubs), []
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
