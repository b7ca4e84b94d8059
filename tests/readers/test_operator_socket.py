"""The operator's socket takes the home's owner, and refuses whatever descends from a run."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nodes.contract.ids import new_id
from tests.readers.clients import sse
from tests.readers.conftest import HubProcess

ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    client.sendall(b"GET /api/v1/runs/%s/events HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n"
                   % sys.argv[2].encode())
    answer = b""
    while part := client.recv(65536):
        answer += part
print(answer.split()[1].decode(), answer.partition(b"\\r\\n\\r\\n")[2].decode(), flush=True)
"""
# A subreaper, as supervisors are. Its child ends at once; the orphan then runs the command, its environment empty.
DOUBLE_FORK = """
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
top = os.getpid()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        while os.getppid() != top: time.sleep(0.01)
        os.execve(sys.executable, sys.argv[1:], {})
    os._exit(0)
os.wait(), os.wait()
"""


@pytest.fixture
async def local(hub: HubProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the operator's socket, as this process is."""
    transport = httpx.AsyncHTTPTransport(uds=str(hub.home / "hub.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
        yield client


def ask(hub: HubProcess, *command: str, **environ: str) -> tuple[int, dict[str, Any]]:
    """Status and answer of a request made by another process."""
    asking = [sys.executable, "-c", ASK, str(hub.home / "hub.sock"), hub.run]
    env = {key: value for key, value in os.environ.items() if not key.startswith("AGENTHUB_")}
    ended = subprocess.run(
        [*command, *asking], env={**env, **environ}, capture_output=True, text=True, timeout=30, check=True
    )
    status, _, body = ended.stdout.partition(" ")
    answer: dict[str, Any] = json.loads(body)
    return int(status), answer


async def test_the_homes_owner_acts_as_root(hub: HubProcess, local: httpx.AsyncClient) -> None:
    hub.append(2)
    page = (await local.get(f"/api/v1/runs/{hub.run}/events")).json()
    assert [event["seq"] for event in page["results"]] == [1, 2]
    made = await local.post("/api/v1/tokens/", json={"name": f"by hand {new_id()}"})
    assert made.status_code == 201, made.text
    assert stat.S_IMODE((hub.home / "hub.sock").stat().st_mode) == 0o600


async def test_a_run_is_followed_over_it_to_the_end(hub: HubProcess, local: httpx.AsyncClient) -> None:
    async with sse(local, hub.run, None) as frames:
        assert (await anext(frames))[0] == "state"
        await asyncio.to_thread(hub.append, 3_000, size=500, end=True)
        seen = [frame async for frame in frames]
    assert [data["seq"] for name, data in seen if name == "event"] == list(range(1, 3_001))
    assert seen[-1][0] == "end"


def test_any_process_of_ours_may_ask(hub: HubProcess) -> None:
    assert ask(hub)[0] == 200
    assert ask(hub, AGENTHUB_HOME="/elsewhere")[0] == 200


def refused(answer: tuple[int, dict[str, Any]]) -> bool:
    status, body = answer
    return status == 403 and body["error"]["code"] == "operator_refused" and "results" not in body


def test_a_process_of_a_run_is_refused_and_audited(hub: HubProcess) -> None:
    assert refused(ask(hub, AGENTHUB_RUN_ID=hub.run))
    assert refused(ask(hub, AGENTHUB_SPAWNER="1"))
    assert "operator.refused" in hub.ask("audit_names")


def test_a_clean_environment_does_not_hide_the_parent(hub: HubProcess) -> None:
    shell = ("sh", "-c", 'env -i "$@"; true', "sh")
    assert refused(ask(hub, *shell, AGENTHUB_RUN_ID=hub.run))
    assert refused(ask(hub, *shell, AGENTHUB_SPAWNER="1"))


def test_forking_twice_does_not_hide_the_supervisor(hub: HubProcess) -> None:
    assert refused(ask(hub, sys.executable, "-c", DOUBLE_FORK, AGENTHUB_SPAWNER="1"))


def converse(path: Path, data: bytes) -> bytes:
    """What the socket answers to raw bytes, until it closes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(data)
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer


def test_what_is_no_request_is_answered_and_cut_off(hub: HubProcess) -> None:
    path = hub.home / "hub.sock"
    assert converse(path, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400")
    long_head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000
    assert converse(path, long_head).startswith(b"HTTP/1.1 431")


def test_a_body_without_bound_is_refused(hub: HubProcess) -> None:
    head = b"POST /api/v1/tokens/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2100000\r\n\r\n"
    answer = converse(hub.home / "hub.sock", head + b"x" * 2_100_000)
    assert answer.startswith(b"HTTP/1.1 413") and b'"too_large"' in answer


def test_requests_may_follow_each_other_on_one_connection(hub: HubProcess) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    answer = converse(hub.home / "hub.sock", request % b"" + request % b"Connection: close\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_a_home_with_a_long_path_has_a_socket_too(home: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    hub = HubProcess(deep)
    try:
        directory = os.open(deep, os.O_RDONLY)
        assert converse(Path(f"/proc/self/fd/{directory}/hub.sock"), b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
        os.close(directory)
        assert hub.stop() == 0
    finally:
        hub.kill()
