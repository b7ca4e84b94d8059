"""Hub processes that can be killed, with agents that come by REST and MCP: one on SQLite, or two on one PostgreSQL."""

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from integrations.cli.client import Client
from tests.journeys.hub import AGENTHUB, Hub
from tests.journeys.machine import client_of
from tests.prepared import give_database
from tests.support import eventually

from .deployment import POSTGRES, REDIS, SECONDS, free_ports

PROJECT = "race"


class Hubs:
    """Web processes with homes of their own, each at an address that it keeps."""

    def __init__(self, root: Path, database: str) -> None:
        """Without a ``database`` there is one of them, on SQLite."""
        base = {key: value for key, value in os.environ.items() if not key.startswith(("AGENTHUB_", "DJANGO_"))}
        self._base = base | {"AGENTHUB_SERVER__ENGINE": "uvicorn", "AGENTHUB_INTERNAL_GRPC__LISTEN": "127.0.0.1:0"}
        if database:
            self._base["AGENTHUB_DATABASE__URL"] = POSTGRES.rpartition("/")[0] + f"/{database}"
            self._base["AGENTHUB_REDIS__URL"] = REDIS
        self.homes = [root / "a", root / "b"] if database else [root / "a"]
        self.urls = [f"http://127.0.0.1:{port}" for port in free_ports(len(self.homes))]
        self.tokens: dict[str, str] = {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def environ(self, number: int = 0) -> dict[str, str]:
        listen = self.urls[number].removeprefix("http://")
        return self._base | {"AGENTHUB_HOME": str(self.homes[number]), "AGENTHUB_SERVER__LISTEN": listen}

    def prepare(self, agents: list[str], **limits: Any) -> None:
        """Homes, processes, and a project with these agents."""
        for number, home in enumerate(self.homes):
            home.mkdir()
            if number == 0:
                if len(self.homes) == 1:
                    give_database(home)
                subprocess.run(
                    [*AGENTHUB, "prepare"], env=self.environ(), check=True, timeout=3 * SECONDS, capture_output=True
                )
            else:
                shutil.copytree(self.homes[0] / "pki", home / "pki")
            self.start(number)
        for number in range(len(self.homes)):
            eventually(lambda number=number: self.is_ready(number), SECONDS)  # type: ignore[misc]
        self.tokens = {name: f"token-of-{name}-{secrets.token_hex(8)}" for name in agents}
        operator = self.operator()
        operator.post("/api/v1/projects/", {"slug": PROJECT, "name": "Race"})
        lines = [{"name": name, "token": token} for name, token in self.tokens.items()]
        operator.post("/api/v1/agents/import/", {"project": PROJECT, "agents": lines})
        operator.patch(f"/api/v1/projects/{PROJECT}/limits/", limits)

    def operator(self) -> Client:
        return client_of(Hub(self.homes[0]))

    def start(self, number: int) -> None:
        home = self.homes[number]
        with (home / "web.log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [*AGENTHUB, "web"], env=self.environ(number), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def is_ready(self, number: int) -> bool:
        try:
            return httpx.get(f"{self.urls[number]}/healthz", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def kill(self, number: int, how: int = signal.SIGKILL) -> None:
        process = self._processes.pop(number)
        process.send_signal(how)
        process.wait(SECONDS)

    def stop(self) -> None:
        for number in list(self._processes):
            self.kill(number, signal.SIGTERM)

    def log(self) -> str:
        return "".join(
            f"\n--- {home}\n{(home / 'web.log').read_text('utf-8', 'replace')[-4000:]}" for home in self.homes
        )


@contextmanager
def new_hubs(root: Path, kind: str) -> Iterator[Hubs]:
    """``sqlite`` or ``postgresql``; nothing runs yet."""
    database = f"agenthub_{secrets.token_hex(6)}" if kind == "postgresql" else ""
    if database:
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")
    hubs = Hubs(root, database)
    try:
        yield hubs
    finally:
        hubs.stop()
        if database:
            with psycopg.connect(POSTGRES, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {database} WITH (FORCE)")


def mcp_body(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def mcp_said(answer: httpx.Response) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(answer.json()["result"]["content"][0]["text"])
    return said
