"""500 nodes on one hub, each a real TLS link with real hellos and heartbeats; then the hub is killed and comes back.

The nodes are light: many in one process, with nothing behind the link. What they cost the hub when idle, how long until
all are back, and what callers of the API notice meanwhile. The limit is a bare gRPC server, over the same TLS and with
the same frames, which keeps nothing and knows nobody. ``BENCH_NODES`` sets how many; ``make bench`` takes 1,000 too.
"""

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django

django.setup()

import httpx  # noqa: E402
import psutil  # noqa: E402
from django.db import connection  # noqa: E402

from agenthub_site.settings import CONFIG  # noqa: E402
from nodes import pki  # noqa: E402
from nodes.contract.limits import HEARTBEAT_SECONDS  # noqa: E402
from nodes.doors import tunnel_address_file  # noqa: E402
from nodes.models import Node  # noqa: E402
from tests.benchmarks.figures import Figure, percentiles, say  # noqa: E402
from tests.benchmarks.hub import ROOT, Hub, running_hub  # noqa: E402

NODES = int(os.environ.get("BENCH_NODES", "500"))
IDLE_SECONDS = 15.0
SETTLE_SECONDS = 5.0
BACK_SECONDS = 300.0
LIGHT = [sys.executable, "-m", "tests.benchmarks.light_nodes"]


class LightNodes:
    """The process of the light nodes, and how many of them were welcome when."""

    def __init__(self, directory: Path, address: str) -> None:
        self.history: list[tuple[float, int]] = []
        self._process = subprocess.Popen(
            [*LIGHT, "dial", str(directory), address], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            told = json.loads(line)
            self.history.append((told["at"], told["welcome"]))

    def seconds_until_all(self, since: float) -> float:
        """From ``since`` until all are welcome, after some were not."""
        deadline = time.monotonic() + BACK_SECONDS
        while time.monotonic() < deadline:
            told = [(at, count) for at, count in self.history if at > since]
            if any(count < NODES for _, count in told) and told[-1][1] == NODES:
                return told[-1][0] - since
            time.sleep(0.1)
        raise SystemExit(f"{self.history[-1:]} of {NODES} nodes came within {BACK_SECONDS:.0f} s")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Caller(threading.Thread):
    """Asks the API all the time, and notes how long each answer took; where none came, when."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(daemon=True)
        self._hub = hub
        self._is_done = threading.Event()
        self.answers: list[float] = []
        self.unanswered = 0

    def run(self) -> None:
        with self._hub.client() as client:
            while not self._is_done.wait(0.05):
                for path in ("/api/v1/nodes/", "/api/v1/runs/"):
                    began = time.monotonic()
                    try:
                        client.get(path).raise_for_status()
                        self.answers.append((time.monotonic() - began) * 1000)
                    except (httpx.TransportError, httpx.HTTPStatusError):
                        self.unanswered += 1

    def stop(self) -> None:
        self._is_done.set()
        self.join(60)


def register(directory: Path) -> None:
    """Rows in the registry, and certificates from the hub's own authority, one file a node."""
    authority = pki.load_authority(CONFIG.pki_dir)
    nodes = Node.objects.bulk_create(
        Node(slug=f"light-{number:04}", name="Light", direction=Node.Direction.TUNNEL) for number in range(NODES)
    )
    directory.mkdir()
    for node in nodes:
        pair = pki.issue_node(authority, pki.NodeIdentity(node.pk, node.generation))
        (directory / f"{node.pk}.pem").write_bytes(pair.certificate + pair.key)
    for name in ("ca.pem", "hub-server.pem", "hub-server.key"):
        (directory / name).write_bytes((CONFIG.pki_dir / name).read_bytes())
    (directory / "nodes.json").write_text(json.dumps([str(node.pk) for node in nodes]))


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def written(process: psutil.Process) -> float:
    """Transactions that were committed so far; on SQLite, which counts none, kilobytes that the hub wrote."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute("SELECT sum(n_tup_upd + n_tup_ins) FROM pg_stat_user_tables WHERE relname LIKE 'nodes_%'")
            return float(cursor.fetchone()[0])
    return float(process.io_counters().write_bytes) / 1024


def idle(process: psutil.Process, writes: bool = True) -> tuple[float, float, float]:
    """Share of a core, resident bytes, and writes a second, over a while in which nothing happens."""
    time.sleep(SETTLE_SECONDS)
    began, used, wrote = time.monotonic(), cpu(process), written(process) if writes else 0.0
    time.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - began
    wrote = (written(process) - wrote) / seconds if writes else 0.0
    return (cpu(process) - used) / seconds, float(process.memory_info().rss), wrote


@contextmanager
def bare_server(directory: Path) -> Iterator[tuple[psutil.Process, str]]:
    server = subprocess.Popen([*LIGHT, "serve", str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        port = json.loads(server.stdout.readline())["port"]
        yield psutil.Process(server.pid), f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def measure_bare(directory: Path) -> tuple[float, float, float]:
    """Seconds until all are there, share of a core when idle, bytes a node."""
    with bare_server(directory) as (process, address):
        before = process.memory_info().rss
        began, nodes = time.time(), LightNodes(directory, address)
        try:
            seconds = nodes.seconds_until_all(began)
            busy, memory, _ = idle(process, writes=False)
        finally:
            nodes.stop()
    return seconds, busy, (memory - before) / NODES


def measure(hub: Hub, directory: Path) -> None:
    bare_seconds, bare_busy, bare_bytes = measure_bare(directory)
    process = hub.part("web")
    alone_busy, alone_memory, alone_wrote = idle(process)
    began, nodes = time.time(), LightNodes(directory, tunnel_address_file(CONFIG.home).read_text())
    try:
        first = nodes.seconds_until_all(began)
        busy, memory, wrote = idle(process)
        beats = NODES / HEARTBEAT_SECONDS
        each = (busy - alone_busy) / beats
        share = f"{(busy - alone_busy) * 100:.1f} % of a core"
        held = f"{(memory - alone_memory) / NODES / 1024:.0f} KiB"
        say(Figure(f"fleet: {NODES} idle nodes on one hub, CPU", share, f"bare gRPC {bare_busy * 100:.1f} %"))
        say(Figure("  CPU of a heartbeat", f"{each * 1e6:.0f} µs", f"bare gRPC {bare_busy / beats * 1e6:.0f} µs"))
        say(Figure("  memory of a node", held, f"bare gRPC {bare_bytes / 1024:.0f} KiB"))
        unit = "rows/s" if connection.vendor == "postgresql" else "KiB/s"
        say(Figure("  written to the database", f"{wrote:.0f} {unit} (without nodes {alone_wrote:.0f})"))
        say(Figure("  all linked, first time", f"{first:.1f} s", f"bare gRPC {bare_seconds:.1f} s"))
        measure_return(hub, nodes, process, bare_seconds)
    finally:
        nodes.stop()


def measure_return(hub: Hub, nodes: LightNodes, process: psutil.Process, bare_seconds: float) -> None:
    """The hub is killed, its parent starts it again, and everybody comes back at once."""
    caller = Caller(hub)
    killed = time.time()
    process.kill()
    while not _answers(hub):
        time.sleep(0.05)
    up = time.time() - killed
    caller.start()
    back = nodes.seconds_until_all(killed)
    caller.stop()
    p50, p99 = percentiles(caller.answers)
    say(Figure("  hub killed: its API answers again", f"{up:.1f} s"))
    say(Figure("  hub killed: all nodes are back", f"{back:.1f} s after the kill", f"bare gRPC {bare_seconds:.1f} s"))
    share = f"{len(caller.answers)} answers, {caller.unanswered} refused"
    say(Figure("  API meanwhile, p50", f"{p50:.0f} ms", share))
    say(Figure("  API meanwhile, p99", f"{p99:.0f} ms", share, "1,000 ms", p99 <= 1_000))


def _answers(hub: Hub) -> bool:
    try:
        return httpx.get(f"{hub.address}/healthz", timeout=2).is_success
    except httpx.TransportError:
        return False


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    os.environ["AGENTHUB_INTERNAL_GRPC__LISTEN"] = "127.0.0.1:0"
    directory = CONFIG.home / "fleet"
    with running_hub() as hub:
        register(directory)
        try:
            measure(hub, directory)
        finally:
            connection.close()


if __name__ == "__main__":
    os.environ.setdefault("AGENTHUB_ADMIN_PASSWORD", "benchmarks only 1")
    main()
