"""A hub on SQLite with a machine that has joined it, what the database has of both, and agents on either."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.deployment import free_ports
from tests.faults.followed import Followed
from tests.journeys.hub import Hub, new_hub
from tests.journeys.machine import Machine, client_of, command_of, is_online
from tests.support import eventually

NAME = "gpu-01"
SECONDS = 120.0


class Pair:
    """``hub``, and ``machine`` as its node ``gpu-01``."""

    def __init__(self, hub: Hub, machine: Machine, environ: dict[str, str]) -> None:
        self.hub = hub
        self.machine = machine
        self.environ = environ

    def restart_hub(self) -> None:
        """At the addresses that it had."""
        self.hub.stop()
        self.hub.up(**self.environ)

    def join(self) -> None:
        self.machine.serve(*command_of(self.hub, NAME))
        self.until_online()

    def until_online(self) -> None:
        eventually(lambda: is_online(self.hub, NAME), SECONDS)

    def agent(self, node: str = NAME, **fields: Any) -> str:
        """A scripted one in a directory of its own on that node."""
        home = self.machine.home if node == NAME else self.hub.home
        path = home / f"worktrees/demo/{fields.get('name', node)}"
        path.mkdir(parents=True, exist_ok=True)
        body = {
            "project": "demo", "name": node, "node": node, "runtime": "acp", "preset": "scripted",
            "workspace_mode": "use_existing", "workdir": str(path),
        }  # fmt: skip
        return str(client_of(self.hub).post("/api/v1/agents/", {**body, **fields})["id"])

    def follow(self, agent: str, prompt: str, *options: str) -> Followed:
        return Followed(self.hub, self.stored, agent, prompt, *options)

    def stored(self, run: str) -> list[tuple[int, str, str]]:
        return self.rows(
            "SELECT seq, type, payload FROM agents_runevent WHERE run_id = ? ORDER BY seq", run.replace("-", "")
        )

    def audited(self, name: str) -> list[str]:
        return [data for (data,) in self.rows("SELECT data FROM audit_auditevent WHERE name = ?", name)]

    def epochs(self) -> list[int]:
        """Of the nodes' links: each new connection has a higher one."""
        return [epoch for (epoch,) in self.rows("SELECT epoch FROM nodes_linklease ORDER BY node_id")]

    def rows(self, query: str, *values: str) -> list[Any]:
        with sqlite3.connect(f"file:{self.hub.home}/db.sqlite3?mode=ro", uri=True, timeout=20) as connection:
            return connection.execute(query, values).fetchall()

    def log(self) -> str:
        return self.machine.log.read_text()


@contextmanager
def new_pair(node_environ: dict[str, str] | None = None, **environ: str) -> Iterator[Pair]:
    root = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    (root / "hub").mkdir()
    machine = Machine(root / "far")
    machine.environ |= node_environ or {}
    try:
        with new_hub(root / "hub") as hub:
            web, links = free_ports(2)
            environ |= {
                "AGENTHUB_SERVER__LISTEN": f"127.0.0.1:{web}",
                "AGENTHUB_INTERNAL_GRPC__LISTEN": f"127.0.0.1:{links}",
            }
            hub.up(**environ)
            pair = Pair(hub, machine, environ)
            pair.join()
            yield pair
            machine.close()
    finally:
        machine.close()
        shutil.rmtree(root, ignore_errors=True)
