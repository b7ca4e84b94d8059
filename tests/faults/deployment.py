"""Several control planes on one PostgreSQL and one Redis, a web door beside them: each with a home of its own."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.journeys.hub import AGENTHUB, Hub, new_hub
from tests.journeys.machine import Machine, client_of, command_of, is_online
from tests.support import eventually, free_port

POSTGRES = os.environ.get("AGENTHUB_FAULTS_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
REDIS = os.environ.get("AGENTHUB_FAULTS_REDIS", "redis://127.0.0.1:6379/0")
SECONDS = 90.0
Row = tuple[Any, ...]


_OWNERSHIP = {
    "leases": "SELECT n.slug, n.direction, l.owner, l.epoch, l.instance, l.expires_at - now(), now() - n.last_heard_at "
    "FROM nodes_linklease l JOIN nodes_node n ON n.id = l.node_id",
    "connections": "SELECT application_name, pid, state, wait_event_type, wait_event, now() - xact_start, "
    "now() - state_change, pg_blocking_pids(pid), left(query, 160) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY application_name, pid",
    "locks": "SELECT pid, locktype, relation::regclass::text, mode, granted FROM pg_locks "
    "WHERE pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()) "
    "AND locktype <> 'virtualxid' AND mode <> 'AccessShareLock' ORDER BY pid, locktype",
}


class Plane:
    """One `agenthub controlplane` on a machine of its own, as far as files go."""

    def __init__(self, home: Path, environ: dict[str, str], port: int) -> None:
        self.home = home
        self.name = f"plane-{home.name}-{secrets.token_hex(3)}"
        """Of its connections to the database."""
        self.address = f"127.0.0.1:{port}"
        self.log = home / "plane.log"
        self._environ = {**environ, "AGENTHUB_HOME": str(home), "AGENTHUB_INTERNAL_GRPC__LISTEN": self.address}
        self._environ["AGENTHUB_DATABASE__URL"] += f"?application_name={self.name}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*AGENTHUB, "controlplane"], env=self._environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        eventually(lambda: "tunnels.listening" in self.said(), SECONDS)

    @property
    def owner(self) -> str:
        """Under which name it holds leases."""
        return (self.home / "controlplane.lock").read_text()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def send(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None


class Deployment:
    """A web door, a database of its own, two control planes, which the test starts."""

    def __init__(self, root: Path, database: str) -> None:
        self.url = POSTGRES.rpartition("/")[0] + f"/{database}"
        ports = free_ports(3)
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("AGENTHUB_", "DJANGO_"))}
        self._environ = environ | {
            "AGENTHUB_DATABASE__URL": self.url,
            "AGENTHUB_REDIS__URL": REDIS,
            "AGENTHUB_INTERNAL_GRPC__ADDRESSES": ",".join(f"127.0.0.1:{port}" for port in ports[:2]),
            "AGENTHUB_SERVER__LISTEN": "127.0.0.1:0",
            "AGENTHUB_LOG__FORMAT": "json",
        }
        self.hub = Hub(root / "web")
        self.hub.home.mkdir()
        self.planes = [Plane(root / name, self._environ, port) for name, port in zip("ab", ports, strict=False)]
        self.machines: dict[str, Machine] = {}
        self._root = root
        self._dialled_port = ports[2]
        self._web: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The web door, with the certificates that all control planes share; no control plane yet."""
        environ = self._environ | {"AGENTHUB_HOME": str(self.hub.home)}
        subprocess.run([*AGENTHUB, "prepare"], env=environ, check=True, timeout=SECONDS, capture_output=True)
        for plane in self.planes:
            shutil.copytree(self.hub.home / "pki", plane.home / "pki")
        with (self.hub.home / "web.log").open("ab") as log:
            self._web = subprocess.Popen(
                [*AGENTHUB, "web", "--no-controlplane"], env=environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        eventually((self.hub.home / "hub.sock").exists, SECONDS)
        eventually((self.hub.home / "address").exists, SECONDS)
        self.client = client_of(self.hub)
        self.client.post("/api/v1/projects/", {"slug": "demo", "name": "Demo"})

    def add_tunnel(self, name: str) -> str:
        """A machine that joins and dials; the id of an agent on it."""
        machine = self._machine(name)
        machine.serve(*command_of(self.hub, name))
        return self._agent_on(name)

    def add_dialled(self, name: str) -> str:
        """A machine that joins, and that the control planes dial; the id of an agent on it."""
        machine = self._machine(name)
        machine.serve(*command_of(self.hub, name), "--listen", f"127.0.0.1:{self._dialled_port}")
        return self._agent_on(name)

    def owner(self, node: str) -> str:
        """Who holds the node's lease at present, if it has not run out."""
        return self.value(
            "SELECT owner FROM nodes_linklease l JOIN nodes_node n ON n.id = l.node_id "
            "WHERE n.slug = %s AND l.expires_at > now()",
            node,
        )

    def until_owned(self, plane: Plane) -> None:
        """Until every machine's link belongs to this control plane, and is up; says who is in the way, if it fails."""
        try:
            eventually(lambda: {self.owner(name) for name in self.machines} == {plane.owner}, SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.ownership()}\n{self.log()}") from None

    def ownership(self) -> str:
        """Who holds which lease, what each connection to the database does, and who waits for whom there."""
        planes = ", ".join(f"{plane.name} is {plane.owner}" for plane in self.planes)
        lines = (f"--- {name}\n" + "\n".join(map(repr, self.rows(query))) for name, query in _OWNERSHIP.items())
        return "\n".join([f"--- owners\n{planes}", *lines])

    def until_online(self) -> None:
        for name in self.machines:
            eventually(lambda name=name: is_online(self.hub, name), SECONDS)  # type: ignore[misc]

    def rows(self, query: str, *values: object) -> list[Row]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, values).fetchall()

    def value(self, query: str, *values: object) -> str:
        found = self.rows(query, *values)
        return str(found[0][0]) if found else ""

    def events(self, run: str) -> list[Row]:
        """What the database has of a run: number and type."""
        return self.rows("SELECT seq, type, payload FROM agents_runevent WHERE run_id = %s ORDER BY seq", run)

    def log(self) -> str:
        """The ends of all logs, for messages of failures."""
        paths = [*(plane.log for plane in self.planes), *(machine.log for machine in self.machines.values())]
        return "".join(f"\n--- {path}\n{path.read_text()[-6000:]}" for path in paths if path.exists())

    def close(self) -> None:
        for plane in self.planes:
            plane.kill()
        for machine in self.machines.values():
            machine.close()
        if self._web:
            self._web.kill()
            self._web.wait(SECONDS)

    def _machine(self, name: str) -> Machine:
        home = self._root / name
        home.mkdir()
        self.machines[name] = Machine(home)
        self.machines[name].environ["AGENTHUB_LOG__FORMAT"] = "json"
        return self.machines[name]

    def _agent_on(self, node: str) -> str:
        workdir = self._root / node / "worktrees/demo/work"
        workdir.mkdir(parents=True)
        body = {
            "project": "demo", "name": f"agent-{node}", "node": node, "runtime": "acp", "preset": "scripted",
            "workspace_mode": "use_existing", "workdir": str(workdir),
        }  # fmt: skip
        return str(self.client.post("/api/v1/agents/", body)["id"])


@contextmanager
def new_database() -> Iterator[str]:
    """The name of an empty one. Skips where there is no PostgreSQL or Redis, except in CI."""
    try:
        with psycopg.connect(POSTGRES, autocommit=True, connect_timeout=5):
            socket.create_connection(("127.0.0.1", 6379), 5).close()
    except (psycopg.Error, OSError) as error:
        if "CI" in os.environ:
            raise
        pytest.skip(f"needs PostgreSQL at {POSTGRES} and Redis at {REDIS}: {error}")
    database = f"agenthub_{secrets.token_hex(6)}"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")
    try:
        yield database
    finally:
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)")


@contextmanager
def hub_on(database: str, home: Path) -> Iterator[Hub]:
    """A hub with ``up``, its data in ``sqlite``, or in ``postgresql`` with Redis."""
    with ExitStack() as stack:
        environ = {}
        if database == "postgresql":
            url = POSTGRES.rpartition("/")[0] + f"/{stack.enter_context(new_database())}"
            environ = {"AGENTHUB_DATABASE__URL": url, "AGENTHUB_REDIS__URL": REDIS}
        hub = stack.enter_context(new_hub(home, environ=environ))
        hub.up()
        yield hub


@contextmanager
def new_deployment() -> Iterator[Deployment]:
    with new_database() as database:
        root = Path(tempfile.mkdtemp(prefix="ahd-", dir="/tmp"))
        deployment = Deployment(root, database)
        try:
            deployment.start()
            yield deployment
        finally:
            deployment.close()
            shutil.rmtree(root, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)
