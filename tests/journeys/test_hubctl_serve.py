"""`hubctl serve` in the place of agent-hub-mcp's server: its files and variables, the official client, its operator."""

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from integrations.cli.exits import Exit
from tests.fakes.old_hub import FakeOldHub
from tests.support import eventually, free_port

from .hub import AGENTHUB, READY_SECONDS, STOP_SECONDS

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]
TOKENS = {"ada": "token-of-ada-0123456789", "wim": "token-of-wim-0123456789"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
Ended = subprocess.CompletedProcess[str]


class Served:
    """An account's home with the package's files in it, and what runs there by `hubctl`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.settings = home / ".config/agent-hub"
        self.settings.mkdir(parents=True)
        self.write("agents.env", "".join(f"{name}={token}\n" for name, token in TOKENS.items()))
        self.write("config.yaml", "max_rounds: 2\nlease_minutes: 30\n")
        self.process: subprocess.Popen[str] | None = None
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AGENT", "DJANGO_"))},
            "HOME": str(home),
            "AGENT_HUB_HOST": "127.0.0.1",
            "AGENT_HUB_PORT": str(self.port),
            "AGENT_HUB_DB": str(home / "old.db"),
            "AGENTHUB_INTERNAL_GRPC__LISTEN": "127.0.0.1:0",
        }

    @property
    def own_home(self) -> Path:
        return self.home / "old-agenthub"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def write(self, name: str, text: str) -> None:
        path = self.settings / name
        path.touch(0o600)
        path.write_text(text)

    def hubctl(self, *arguments: str, **environ: str) -> Ended:
        return subprocess.run(
            [*AGENTHUB, "hubctl", *arguments], env={**self.environ, **environ}, capture_output=True, text=True,
            timeout=READY_SECONDS, check=False,
        )  # fmt: skip

    def ask(self, *arguments: str) -> Any:
        ended = self.hubctl(*arguments, "--json")
        assert ended.returncode == Exit.OK, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    def serve(self) -> dict[str, Any]:
        """What it says once it is ready."""
        with (self.home / "said").open("ab") as said:
            self.process = subprocess.Popen(
                [*AGENTHUB, "hubctl", "serve", "--json"], env=self.environ, stdout=subprocess.PIPE, stderr=said,
                text=True,
            )  # fmt: skip
        line: list[str] = []
        reader = threading.Thread(target=lambda out=self.process.stdout: line.append(out.readline()))
        reader.start()
        reader.join(READY_SECONDS)
        assert line and line[0], self.said()
        told: dict[str, Any] = json.loads(line[0])
        return told

    def said(self) -> str:
        return (self.home / "said").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        process, self.process = self.process, None
        assert process and process.stdout
        process.send_signal(number)
        try:
            return process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    served = Served(home)
    try:
        yield served
    finally:
        if served.process:
            served.stop()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@asynccontextmanager
async def agent(url: str, token: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as connected,
    ):
        yield connected


async def use(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await client.call_tool(tool, arguments)
    said: dict[str, Any] = json.loads(answer.content[0].text)  # type: ignore[union-attr]
    assert said["ok"], said
    return said


async def test_agents_and_operator_work_as_with_the_package_and_it_ends_in_peace(served: Served) -> None:
    old = FakeOldHub(served.home / "old.db")
    old.round(old.task("OLD-1"), 1, "dispatched", "pending")
    before = old.path.read_bytes()
    told = served.serve()
    assert told["address"] == f"http://127.0.0.1:{served.port}"
    assert told["home"] == str(served.own_home)
    eventually(lambda: "Agents    2 agents" in served.said() and "Limits" in served.said(), READY_SECONDS)
    async with agent(served.url, TOKENS["ada"]) as ada, agent(served.url, TOKENS["wim"]) as wim:
        await use(ada, "task_draft_create", task_id="FEAT-1", title="Mend the nets")
        plan = json.dumps({"assignments": [{"agent_id": "wim", "goal": "Mend them"}]})
        round_ = (await use(ada, "round_plan_submit", task_id="FEAT-1", plan_json=plan))["round_id"]
        assert [(task["key"], task["status"]) for task in served.ask("list-tasks")] == [
            ("FEAT-1", "awaiting_operator_approval"), ("OLD-1", "dispatched"),
        ]  # fmt: skip
        assert served.ask("approve", round_, "Go", "ahead")["status"] == "dispatched"
        assert served.ask("status", round_)["operator_note"] == "Go ahead"
        (mine,) = (await use(wim, "assignment_list", round_id=round_))["assignments"]
        assert len((await use(wim, "assignment_list"))["assignments"]) == 2
        await use(wim, "assignment_claim", assignment_id=mine["id"])
        handoff = json.dumps({"branch": "nets", "changed_files": ["net.py"]})
        await use(wim, "assignment_complete", assignment_id=mine["id"], handoff_json=handoff)
        await use(ada, "review_submit", round_id=round_, verdict="approved")
        assert served.ask("status", round_)["status"] == "completed"
    again = served.hubctl("approve", round_)
    assert again.returncode == Exit.REFUSED and "completed" in again.stderr

    served.write("agents.env", f"ada={TOKENS['ada']}\nzoe=token-of-zoe-0123456789\n")
    eventually(lambda: "ada, zoe" in served.said(), 30)
    async with agent(served.url, "token-of-zoe-0123456789") as zoe:
        assert (await use(zoe, "hub_status"))["transport"] == "streamable-http"
    eventually(lambda: "were revoked: wim." in served.said(), 30)
    bearer = {"Authorization": f"Bearer {TOKENS['wim']}", "Accept": "application/json, text/event-stream"}
    assert httpx2.post(served.url, json=PING, headers=bearer, timeout=60).status_code == HTTPStatus.UNAUTHORIZED

    second = served.hubctl("serve")
    assert second.returncode == Exit.REFUSED and f"already runs on ~/{served.own_home.name}" in second.stderr
    other = served.hubctl("serve", AGENT_HUB_DB=str(served.home / "other.db"))
    assert other.returncode == Exit.USAGE
    assert f"Port {served.port} is taken" in other.stderr and "AGENT_HUB_PORT" in other.stderr

    assert "Taken over: 2 agents, 1 task, 1 round, 1 assignment." in served.said()
    assert old.path.read_bytes() == before
    assert served.stop() == Exit.OK
    assert is_free(served.port)
    eventually(lambda: processes_of(served.own_home) == [])
    refused = served.hubctl("list-tasks")
    assert refused.returncode == Exit.UNREACHABLE and "Traceback" not in refused.stderr


def processes_of(home: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AGENTHUB_HOME") == str(home):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
