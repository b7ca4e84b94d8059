"""Calls of MCP tools a second, for one client and eight, beside agent-hub-mcp 0.2.0: same client, taking turns.

Set ``BENCH_AGENT_HUB_MCP`` to the Python of an environment with agent-hub-mcp 0.2.0. Its wheel lacks a file: copy
``migrations/001_init.sql`` of its source to ``lib/python3.X/migrations/`` there. Without it that column says n/a.
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from tests.benchmarks.figures import Figure, percentiles, say
from tests.benchmarks.hub import running_hub
from tests.benchmarks.machine import wait_for

CLIENTS = 8
SECONDS = 1.5
TURNS = 3
MAIL = 300
"""Messages that each client finds before a turn of reading."""
OLD = os.environ.get("BENCH_AGENT_HUB_MCP", "")
OLD_URL = "http://127.0.0.1:8765/mcp"
VERSION = "2026-07-28"
TOKENS = {f"agent-{n}": f"token-of-agent-{n}-0123456789" for n in range(CLIENTS * TURNS)}
"""Each turn has agents of its own: one alone soon meets the hub's limit of calls a second."""
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Connection:
    """One client's connection, kept open. As little work as can be, since it shares the machine with the server."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
            f"MCP-Protocol-Version: {VERSION}\r\nMcp-Method: tools/call\r\n"
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        params = {"name": tool, "arguments": arguments, "_meta": META}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        reader, writer = self._streams = self._streams or await asyncio.open_connection(*self._address)
        writer.write(f"{self._head}Mcp-Name: {tool}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if "content-length:" in head:
            answer = await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
        else:
            answer = b""
            while size := int(await reader.readline(), 16):
                answer += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        if " 200 " not in head.split("\r\n")[0]:
            raise SystemExit(f"{tool} was refused: {head.splitlines()[0]} {answer[:300]!r}")
        text = answer.decode()
        if "data:" in text and not text.startswith("{"):
            text = text.split("data:")[-1]
        said: dict[str, Any] = json.loads(json.loads(text)["result"]["content"][0]["text"])
        if not said["ok"]:
            raise SystemExit(f"{tool} was refused: {said}")
        return said

    async def aclose(self) -> None:
        if self._streams:
            self._streams[1].close()


@dataclass
class Taken:
    """Milliseconds of each call, and how long all of it took."""

    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.milliseconds) / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        middle, slow = percentiles(self.milliseconds)
        return f"{self.rate:.0f}/s, p50 {middle:.1f} ms, p99 {slow:.1f} ms"


def names_of(turn: int) -> list[str]:
    return list(TOKENS)[turn * CLIENTS : (turn + 1) * CLIENTS]


async def one_turn(url: str, what: str, names: list[str], taken: Taken) -> None:
    connections = [Connection(url, TOKENS[name]) for name in names]
    until = time.perf_counter() + SECONDS

    async def work(number: int, connection: Connection) -> None:
        count = 0
        while time.perf_counter() < until:
            began = time.perf_counter()
            count += 1
            if what == "hub_status":
                await connection.call("hub_status")
            elif what == "message_send":
                # To oneself, so that nobody's inbox grows under another's hands.
                await connection.call("message_send", to_agent=names[number], subject=f"{count}", body="x" * 200)
            else:
                messages = (await connection.call("inbox_pull", limit=1))["messages"]
                if not messages:
                    raise SystemExit(f"the inbox ran dry: raise MAIL, {MAIL} were not enough")
                (message,) = messages
                await connection.call("message_ack", message_id=message["id"])
            taken.milliseconds.append((time.perf_counter() - began) * 1_000)

    began = time.perf_counter()
    await asyncio.gather(*(work(number, each) for number, each in enumerate(connections)))
    taken.seconds += time.perf_counter() - began
    for connection in connections:
        await connection.aclose()


async def fill(url: str, names: list[str]) -> None:
    """Mail for everybody, by broadcasts of two, who get the other's."""
    two = [Connection(url, TOKENS[name]) for name in names[:2]]
    for connection in two:
        await send_many(connection)
        await connection.aclose()


async def send_many(connection: Connection) -> None:
    for number in range(MAIL):
        await connection.call("message_send", subject=f"{number}", body="x" * 200)


async def fill_old(home: Path) -> None:
    """The same, behind its back: by its own tools this would take minutes."""
    columns = "id, dedupe_key, from_agent, to_agent, msg_type, subject, body, is_read, created_at"
    now = datetime.now(UTC).isoformat()
    ids = ((uuid4().hex, name) for name in TOKENS for _ in range(MAIL))
    rows = [(id_, id_, name, name, "info", "x", "x" * 200, 0, now) for id_, name in ids]
    with closing(sqlite3.connect(home / ".local/share/agent-hub/hub.db", timeout=30)) as database, database:
        database.executemany(f"INSERT INTO messages ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


async def measure(urls: dict[str, str], old_home: Path) -> None:
    for url in urls.values():
        for token in TOKENS.values():
            await Connection(url, token).call("agent_register", name="bench")
            await Connection(url, token).call("hub_status")
    for what, aim in (("hub_status", 1.0), ("message_send", 2.5), ("inbox_pull + message_ack", 2.5)):
        for clients in (1, CLIENTS):
            taken = {name: Taken() for name in urls}
            for turn in range(TURNS):
                names = names_of(turn)
                for name, url in urls.items():
                    if what.startswith("inbox_pull"):
                        await (fill_old(old_home) if name == "old" else fill(url, names))
                    await one_turn(url, what, names[:clients], taken[name])
            ours, old = taken["ours"], taken.get("old")
            wanted = f"{aim:g} times as many" if clients == CLIENTS else ""
            is_met = ours.rate >= aim * old.rate if old and wanted else None
            beside = f"agent-hub-mcp: {old}" if old else "n/a: BENCH_AGENT_HUB_MCP is not set"
            say(Figure(f"{what}, {clients} client(s)", str(ours), beside, wanted, is_met))


async def measure_sdk() -> None:
    """What the protocol's own package costs: a call through it whose tool does nothing, without any network."""
    import django

    django.setup()
    from agenthub_site.accounts.actors import Actor, ActorKind
    from integrations.mcp.server import ACTOR, McpServer

    async def nothing(*_: Any) -> dict[str, Any]:
        return {"ok": True}

    server = McpServer(nothing)
    await server.start()
    params = {"name": "hub_status", "arguments": {}, "_meta": META}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = {
        "host": "127.0.0.1", "accept": "application/json", "content-type": "application/json",
        "mcp-protocol-version": VERSION, "mcp-method": "tools/call", "mcp-name": "hub_status",
    }  # fmt: skip
    scope = {
        "type": "http", "method": "POST", "path": "/mcp", "query_string": b"", ACTOR: Actor(ActorKind.SYSTEM, "bench"),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        assert message.get("status", 200) == 200

    taken = []
    for _ in range(600):
        began = time.perf_counter()
        await server.answer(dict(scope), receive, send)
        taken.append((time.perf_counter() - began) * 1_000)
    await server.stop()
    say(Figure("the SDK's own part of a call", f"{percentiles(taken[100:])[0]:.2f} ms"))


@contextmanager
def old_server() -> Iterator[Path | None]:
    """agent-hub-mcp's server with agents of ours; its home, or None without one."""
    if not OLD:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="ahb-old-", dir="/tmp") as home:
        settings = Path(home, ".config", "agent-hub")
        settings.mkdir(parents=True)
        settings.joinpath("agents.env").write_text("".join(f"{name}={token}\n" for name, token in TOKENS.items()))
        server = subprocess.Popen(
            [OLD, "-m", "agent_hub.server"],
            env={**os.environ, "HOME": home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(OLD_URL)
            yield Path(home)
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()


def main() -> None:
    with running_hub() as hub, old_server() as old:
        with hub.client() as client:
            agents = [{"name": name, "token": token} for name, token in TOKENS.items()]
            told = client.post("/api/v1/agents/import/", json={"project": "demo", "agents": agents})
            told.raise_for_status()
        urls = {"ours": f"{hub.address}/mcp", **({"old": OLD_URL} if old else {})}
        asyncio.run(measure(urls, old or Path()))
    asyncio.run(measure_sdk())


if __name__ == "__main__":
    main()
