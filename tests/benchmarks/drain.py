"""Pre-filled spools of 20 runs: from the node's disk over the link into committed rows, as fast as it goes.

A real node server process, the real control plane here. The limit is the bare bulk insert
of the same rows in the same batches, on the same database, without anything around it.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import django

django.setup()

import psutil  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.models import Count, Max, Sum  # noqa: E402

from agenthub_site.controlplane import Controlplane  # noqa: E402
from agenthub_site.settings import CONFIG  # noqa: E402
from agents.event_table import NewEvent, insert_events  # noqa: E402
from agents.models import Run, RunEvent  # noqa: E402
from agents.states import State  # noqa: E402
from nodes.contract.commands import RuntimeSpec, StartRun, Workspace  # noqa: E402
from nodes.contract.events import MessageDelta, RunCompleted  # noqa: E402
from nodes.models import Node  # noqa: E402
from nodes.pki import ensure_pki  # noqa: E402
from nodes.server.rundir import RunDir  # noqa: E402
from nodes.server.spool import SpoolWriter  # noqa: E402
from tests.benchmarks.figures import Figure, say  # noqa: E402
from tests.factories import make_agent, make_node, make_run  # noqa: E402

RUNS = 20
EVENTS = 5_000
BATCH = 500
PAYLOAD = MessageDelta(message_id="0123456789", text="x" * 255)
ROOT = Path(__file__).resolve().parents[2]


def fill(run: Run) -> None:
    """The run's directory as a supervisor would have left it while the hub was away."""
    directory = RunDir(CONFIG.node_dir / "runs", str(run.pk))
    directory.write_spec(
        StartRun(
            run=str(run.pk),
            project=str(run.project_id),
            project_slug="bench",
            agent=str(run.agent_id),
            agent_name="bench",
            runtime=RuntimeSpec(kind="command", command=["true"]),
            workspace=Workspace(mode="use_existing", workdir="/"),
            prompt="x",
            input_id="x",
        )
    )
    directory.take_lock().release()
    writer = SpoolWriter(directory.path, 1)
    for number in range(EVENTS):
        writer.append(PAYLOAD)
        if number % BATCH == 0:
            writer.flush()
    writer.append(RunCompleted(stop_reason="end_turn"))
    writer.flush()
    directory.write_ended(EVENTS + 1)
    writer.close()


def committed() -> int:
    return int(Run.objects.filter(node__slug=Node.LOCAL).aggregate(n=Sum("acked_origin_seq"))["n"])


async def drain(total: int, node: psutil.Process) -> tuple[float, float, float]:
    """Seconds from the first committed record to the last, and the CPU seconds of hub and node."""
    plane = Controlplane(CONFIG)
    hub = psutil.Process()
    await plane.start()
    try:
        while not (done := await asyncio.to_thread(committed)):
            await asyncio.sleep(0.005)
        begun, already = time.perf_counter(), done
        before = _cpu(hub), _cpu(node)
        while (done := await asyncio.to_thread(committed)) < total:
            await asyncio.sleep(0.02)
        seconds = (time.perf_counter() - begun) * total / (total - already)
        return seconds, _cpu(hub) - before[0], _cpu(node) - before[1]
    finally:
        await plane.stop()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def bare(runs: list[Run]) -> float:
    """Rows per second of a bare bulk insert: the same rows, the same batches, nothing else."""
    text = PAYLOAD.model_dump_json()
    began = time.perf_counter()
    for start in range(0, EVENTS, BATCH // RUNS):
        rows = [
            NewEvent(run.pk, number + 1, 1, number + 1, PAYLOAD.TYPE, 1, 1, 1, text)
            for run in runs
            for number in range(start, start + BATCH // RUNS)
        ]
        with transaction.atomic():
            insert_events(rows)
    return RUNS * EVENTS / (time.perf_counter() - began)


def main() -> None:
    call_command("migrate", verbosity=0)
    node = make_node(Node.LOCAL)
    agent = make_agent(node=node)
    runs = [make_run(agent=agent, state=State.RUNNING) for _ in range(RUNS)]
    elsewhere = make_agent("bare", node=make_node("oslo"))
    limit = bare([make_run(agent=elsewhere) for _ in range(RUNS)])
    ensure_pki(CONFIG.pki_dir, node.pk)
    CONFIG.node_dir.mkdir(mode=0o700, exist_ok=True)
    (CONFIG.node_dir / "id").write_text(str(node.pk))
    for run in runs:
        fill(run)
    total = RUNS * (EVENTS + 1)
    server = subprocess.Popen([sys.executable, "manage.py", "runnode"], cwd=ROOT, env=os.environ, stdout=2)
    try:
        while not (CONFIG.node_dir / "address").exists():
            if server.poll() is not None:
                raise SystemExit(f"the node server ended with {server.returncode}")
            time.sleep(0.05)
        seconds, hub_cpu, node_cpu = asyncio.run(drain(total, psutil.Process(server.pid)))
    finally:
        server.terminate()
        server.wait(20)
    per_run = RunEvent.objects.filter(run__in=runs).values("run").annotate(n=Count("seq"), last=Max("seq"))
    assert all(row["n"] == row["last"] == EVENTS + 1 for row in per_run), "an event is missing or doubled"
    assert len(per_run) == RUNS
    rate = total / seconds
    aim = max(25_000, limit / 2)
    say(
        Figure(
            "drain: node → hub → committed, 20 spools",
            f"{rate:,.0f} events/s",
            f"bare insert {limit:,.0f}/s",
            f"{aim:,.0f}/s",
            rate >= aim,
        )
    )
    say(Figure("  CPU per event, hub", f"{hub_cpu / total * 1e6:.1f} µs"))
    say(Figure("  CPU per event, node server", f"{node_cpu / total * 1e6:.1f} µs"))
    say(Figure("  lost, doubled", "0, 0"))
    connection.close()


if __name__ == "__main__":
    main()
