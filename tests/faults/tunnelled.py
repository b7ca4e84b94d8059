"""A hub, and a machine that joined it and dials it: what tests of the line between them have in common."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser.relay import Relay
from tests.faults.deployment import free_ports
from tests.faults.followed import Followed
from tests.journeys.hub import Hub, new_hub
from tests.journeys.machine import Machine, client_of, command_of, is_offline, is_online, workdir
from tests.support import eventually

SECONDS = 120.0
NODE = "gpu-01"


class Tunnelled:
    """``line`` is what the node dials through; it can be cut and mended."""

    def __init__(self, hub: Hub, machine: Machine, line: Relay) -> None:
        self.hub = hub
        self.machine = machine
        self.line = line
        self.work = workdir(machine)

    def agent(self, **fields: Any) -> str:
        """An agent on the machine, that works in ``work``."""
        body = {
            "project": "demo", "name": "far", "node": NODE, "runtime": "acp", "preset": "scripted",
            "workspace_mode": "use_existing", "workdir": str(self.work),
        }  # fmt: skip
        return str(client_of(self.hub).post("/api/v1/agents/", body | fields)["id"])

    def follow(self, agent: str, prompt: str, *options: str) -> Followed:
        return Followed(self.hub, lambda run: stored(self.hub, run), agent, prompt, *options)

    def is_online(self) -> bool:
        return is_online(self.hub, NODE)

    def is_offline(self) -> bool:
        return is_offline(self.hub, NODE)


@contextmanager
def new_tunnelled() -> Iterator[Tunnelled]:
    root = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    (root / "hub").mkdir()
    (root / "far").mkdir()
    (port,) = free_ports(1)
    line, machine = Relay(f"http://127.0.0.1:{port}"), Machine(root / "far")
    try:
        with new_hub(root / "hub") as hub:
            hub.up(
                AGENTHUB_INTERNAL_GRPC__LISTEN=f"127.0.0.1:{port}",
                AGENTHUB_INTERNAL_GRPC__ADDRESSES=line.address.removeprefix("http://"),
            )
            machine.serve(*command_of(hub, NODE))
            eventually(lambda: is_online(hub, NODE), SECONDS)
            yield Tunnelled(hub, machine, line)
    finally:
        machine.close()
        line.close()
        shutil.rmtree(root, ignore_errors=True)


def stored(hub: Hub, run: str) -> list[Any]:
    """Number, type and payload of a run's events, from the hub's SQLite itself."""
    query = "SELECT seq, type, payload FROM agents_runevent WHERE run_id = ? ORDER BY seq"
    return rows(hub, query, run.replace("-", ""))


def rows(hub: Hub, query: str, *values: str) -> list[Any]:
    with sqlite3.connect(f"file:{hub.home}/db.sqlite3?mode=ro", uri=True, timeout=20) as connection:
        return connection.execute(query, values).fetchall()
