"""A whole AgentHub on this machine for a benchmark: `agenthub up` in the home the environment names."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
AGENTHUB = [sys.executable, "-m", "agenthub_site.main"]
UP_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Hub:
    """``parts`` are the processes by name: parent, hub, node, worker."""

    address: str
    token: str
    home: Path
    parent: psutil.Process

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def socket_address(self) -> str:
        return self.address.replace("http", "ws", 1)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, headers=self.headers, timeout=30)

    def part(self, *words: str) -> psutil.Process:
        """The child whose command line has these words."""
        for process in self.parent.children():
            if " ".join(("agenthub_site.main", *words)) in " ".join(process.cmdline()):
                return process
        raise LookupError(f"no child runs {' '.join(words)}")


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Up with demo data, and down again with all runs ended."""
    up = subprocess.Popen([*AGENTHUB, "up", "--json", "--stop-runs"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert up.stdout is not None
        told = json.loads(up.stdout.readline() or "null")
        if told is None:
            raise SystemExit(f"agenthub up ended with {up.wait(UP_SECONDS)}")
        made = subprocess.run(
            [*AGENTHUB, "token", "create", "bench", "--json"], cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=60
        )
        token = json.loads(made.stdout)["token"]
        yield Hub(told["address"], token, Path(os.environ["AGENTHUB_HOME"]), psutil.Process(up.pid))
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(60)


def create_agent(client: httpx.Client, name: str, **fields: Any) -> str:
    """An agent in the demo project that works in the demo repository itself; its id."""
    listed = client.get("/api/v1/agents/").raise_for_status().json()["results"]
    repository = next(agent["worktree_repo"] for agent in listed if agent["name"] == "demo")
    body = {"project": "demo", "node": "local", "name": name, "workspace_mode": "use_existing", "workdir": repository}
    body |= fields
    return str(client.post("/api/v1/agents/", json=body).raise_for_status().json()["id"])


def start_run(client: httpx.Client, agent: str, prompt: str) -> dict[str, Any]:
    answer: dict[str, Any] = (
        client.post("/api/v1/runs/", json={"agent": agent, "prompt": prompt}).raise_for_status().json()
    )
    return answer


def wait_for_end(client: httpx.Client, run: str, seconds: float = 120) -> dict[str, Any]:
    """The run once it has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer: dict[str, Any] = client.get(f"/api/v1/runs/{run}/").raise_for_status().json()
        if answer["ended_at"]:
            return answer
        time.sleep(0.05)
    raise SystemExit(f"run {run} did not end within {seconds:.0f} s")
