"""A secret that an agent tells in every way it can is nowhere but in its process and workspace, and with its node.

A real hub, node and supervisor. Everything that leaves the node is read as others would: streams while it happens,
files, tables, logs, exports and pages afterwards.
"""

import asyncio
import base64
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.journeys.hub import Hub
from tests.readers.clients import bearer, ws
from tests.support import eventually

from .deployment import hub_on

pytestmark = pytest.mark.timeout(300)
CANARY = 'cAnAry-7Xq?+&%~="9\\vQz ü4t'
"""With what each spelling writes in its own way, but for a slash, which no file's name holds."""
KEPT = "node/secrets"


def traces() -> dict[str, bytes]:
    """What of it must be nowhere: long parts of each spelling, so that a rest of one is found as well."""
    raw = CANARY.encode()
    found = {
        "plain": b"cAnAry-7Xq", "end": "Qz ü4t".encode(), "json": json.dumps(CANARY)[8:-1].encode(),
        "url": quote(CANARY, safe="").encode(), "form": quote_plus(CANARY).encode(),
        "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode(), "reversed hex": raw.hex()[20:].encode(),
        "line of hex": raw.hex()[18:36].encode(),
        "url's end": quote(CANARY, safe="")[-16:].encode(),
    }  # fmt: skip
    for before in range(3):
        within = base64.b64encode(b"x" * before + raw + b"x" * 3)
        found |= {f"line of base64 at {before}, {part}": within[part : part + 12] for part in range(4, 28, 8)}
        found |= {f"base64 at {before}": within[4:-8], f"base64url at {before}": within[4:-8].translate(_URL)}
    return found


_URL = bytes.maketrans(b"+/", b"-_")
TRACES = traces()


@pytest.fixture(params=["sqlite", "postgresql"])
def hub(request: pytest.FixtureRequest, home: Path) -> Iterator[Hub]:
    with hub_on(request.param, home) as hub:
        yield hub


def all_here(artifacts: list[dict[str, str]]) -> list[dict[str, str]]:
    """Those of a run, once the node has sent them."""
    return artifacts if all(artifact["state"] == "ready" for artifact in artifacts) else []


def told_in(text: bytes) -> list[str]:
    """What was found, each with what stands around it."""
    places = ((name, text.find(trace)) for name, trace in TRACES.items())
    return [f"{name}: {text[max(0, at - 40) : at + 60]!r}" for name, at in places if at >= 0]


async def watch(hub: Hub, token: str, run: str, project: str) -> tuple[bytes, bytes, bytes]:
    """Everything that the live doors say, until the run ends: SSE and both sockets. The question is answered."""
    async with (
        httpx.AsyncClient(base_url=hub.told["address"], headers=bearer(token), timeout=120) as http,
        ws(hub.told["address"].partition("://")[2], f"/ws/runs/{run}/", token) as of_run,
        ws(hub.told["address"].partition("://")[2], f"/ws/projects/{project}/", token) as of_project,
    ):
        heard = [bytearray(), bytearray()]

        async def read_socket() -> None:
            async for frame in of_run:
                heard[0] += str(frame).encode()

        async def read_trail() -> None:
            async for frame in of_project:
                heard[1] += str(frame).encode()

        reading = [asyncio.create_task(read_socket()), asyncio.create_task(read_trail())]
        streamed = bytearray()
        async with http.stream("GET", f"/api/v1/runs/{run}/events/stream") as answer:
            async for line in answer.aiter_lines():
                streamed += line.encode() + b"\n"
                if '"run.approval.requested"' in line:
                    asked = json.loads(line.partition(": ")[2])["payload"]["approval_id"]
                    url = f"/api/v1/runs/{run}/approvals/{asked}/decide/"
                    (await http.post(url, json={"option_id": "yes"})).raise_for_status()
                if line == "event: end":
                    break
        await asyncio.sleep(2)  # for what the sockets still say
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    return bytes(streamed), bytes(heard[0]), bytes(heard[1])


def tables(hub: Hub) -> bytes:
    """Every row, whole: a text that lies across pages of the file is in pieces there."""
    if url := hub.environ.get("AGENTHUB_DATABASE__URL"):
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            rows = [
                row for (name,) in found for row in connection.execute(SQL("SELECT * FROM {}").format(Identifier(name)))
            ]
    else:
        with sqlite3.connect(f"file:{hub.home / 'db.sqlite3'}?mode=ro", uri=True) as file:
            names = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = [row for name in names for row in file.execute(f'SELECT * FROM "{name}"')]
    return b"\n".join(v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row)


def files(home: Path, workspace: Path) -> Iterator[tuple[str, bytes]]:
    """All that lies in the home, but for the secret itself and what the agent wrote into its own workspace."""
    for path in home.rglob("*"):
        inside = path == workspace or workspace in path.parents
        if path.is_file() and not inside and home / KEPT not in path.parents:
            yield str(path), path.read_bytes()


@pytest.fixture
def token(hub: Hub) -> str:
    return str(hub.ask("token", "create", "canary")["token"])


@pytest.fixture
def http(hub: Hub, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=hub.told["address"], headers=bearer(token), timeout=60) as client:
        yield client


def test_a_secret_told_in_every_way_is_in_nothing_that_leaves_its_agent(
    hub: Hub, http: httpx.Client, token: str
) -> None:
    assert hub.give(CANARY, "node", "secret", "set", "canary", "--project", "demo").returncode == 0
    agent = http.get("/api/v1/agents/").json()["results"][0]
    environment = {"LEAK": "secret:canary"}
    http.patch(f"/api/v1/agents/{agent['id']}/", json={"environment": environment}).raise_for_status()
    begun = http.post("/api/v1/runs/", json={"agent": "demo", "prompt": f"@leak LEAK @stderr bye @error {'x' * 9}"})
    run = begun.raise_for_status().json()["id"]

    streamed, of_run, of_project = asyncio.run(watch(hub, token, run, agent["project"]))

    told = http.get(f"/api/v1/runs/{run}/").json()
    listed = http.get(f"/api/v1/runs/{run}/events?limit=5000")
    said = json.dumps(listed.json())
    assert told["state"] == "failed", hub.logs()
    for name in ("plain", "base64", "hex", "HEX", "url", "form"):
        assert f"{name}: [secret]" in said, name  # it was told, and taken out
    assert "patch: +[secret]" in said
    assert said.count("[secret]") > 50
    changed = http.get(f"/api/v1/runs/{run}/diff/")
    assert "[secret]" in changed.text and told["diff"]["files_changed"] >= 3, told

    seen = {
        "SSE": streamed, "the run's socket": of_run, "the project's socket": of_project, "events": listed.content,
        "its diff": changed.content, "its row": json.dumps(told).encode(), "tables": tables(hub),
        "what up said": hub.said.encode(),
    }  # fmt: skip
    left_behind = eventually(lambda: all_here(http.get(f"/api/v1/runs/{run}/artifacts/").json()["results"]))
    assert "report.txt" in [artifact["name"] for artifact in left_behind]
    for artifact in left_behind:
        seen[artifact["name"]] = http.get(f"/api/v1/runs/{run}/artifacts/{artifact['digest']}/").content
    for path in (
        "/api/v1/approvals/", "/api/v1/audit/?project=demo", "/api/v1/usage/?project=demo&by=run", "/api/v1/agents/",
        "/api/v1/audit/export?project=demo", "/metrics", f"/api/v1/nodes/{told['node']}/",
    ):  # fmt: skip
        seen[path] = http.get(path).content
    for command in (["logs", run], ["diff", run], ["approvals", "--all"], ["audit", "export"], ["doctor"], ["runs"]):
        ended = hub.cli(*command)
        seen[" ".join(command)] = ended.stdout.encode() + ended.stderr.encode()
    assert b"secret.used" in seen["/api/v1/audit/?project=demo"]
    hub.stop()  # what it holds in memory is in its files now
    seen |= dict(files(hub.home, Path(told["workspace"])))
    assert len(seen["tables"]) > 50_000 and any("spool" in name or "runs/" in name for name in seen)
    left = [f"{name}: {found}" for name, text in seen.items() for found in told_in(text)]
    assert not left, "\n".join(left)
    assert {name for name in seen if told_in(name.encode())} == set()
