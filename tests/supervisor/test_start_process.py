"""Processes: what they print, how they end, and that nothing of them stays."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nodes.contract.ids import new_id
from nodes.contract.reasons import Reason
from nodes.contract.runtime import RuntimeFailed
from nodes.server import proc
from nodes.server.process import Process, reap_orphans
from nodes.server.sweep import strike, sweep
from tests.support import eventually_async

ESCAPE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        if len(sys.argv) > 1:
            os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(300)"], {})
        time.sleep(300)
    os._exit(0)
print("ready", flush=True)
time.sleep(300)
"""
"""Ignores signals, double-forks into a session of its own; with an argument the fork wipes its environment."""


class Starter:
    """Starts processes that carry a marker, and ends them."""

    def __init__(self, cwd: Path) -> None:
        self.run_id = str(new_id())
        self.cwd = cwd
        self.started: list[Process] = []

    async def __call__(self, *command: str, limit: int = 1 << 20) -> Process:
        environment = {"PATH": os.environ["PATH"], proc.RUN_MARKER: self.run_id}
        process = await Process.start(command, self.cwd, environment, limit)
        self.started.append(process)
        return process


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    await sweep(starter.run_id, None)
    for process in starter.started:
        await process.wait(5)
        await process.release()


def marked(run_id: str) -> list[int]:
    return [stat.pid for stat in proc.all_stats() if stat.state != "Z" and proc.has_marker(stat.pid, run_id)]


async def test_a_process_reads_writes_and_exits(start: Starter) -> None:
    process = await start("sh", "-c", "read x; echo got $x; echo bad >&2; exit 7")
    process.stdin.write(b"it\n")
    assert await process.stdout.read() == b"got it\n"
    assert await process.stderr.read() == b"bad\n"
    assert await process.exited == 7


async def test_a_signal_is_a_negative_status(start: Starter) -> None:
    process = await start("sh", "-c", "kill -9 $$")
    assert await process.exited == -9


async def test_an_exit_is_seen_while_a_grandchild_holds_the_pipe(start: Starter) -> None:
    process = await start("sh", "-c", "sleep 300 & exit 3")
    assert await process.exited == 3
    assert not process.stdout.at_eof()


async def test_a_process_leads_its_own_session(start: Starter) -> None:
    process = await start("sleep", "300")
    stat = proc.stat_of(process.pid)
    assert stat and stat.session == stat.group == process.pid


async def test_a_missing_program_is_said(start: Starter) -> None:
    with pytest.raises(RuntimeFailed) as failed:
        await start("no-such-program-anywhere")
    assert failed.value.reason is Reason.RUNTIME_NOT_INSTALLED


async def test_a_missing_workspace_is_said(start: Starter) -> None:
    start.cwd = start.cwd / "gone"
    with pytest.raises(RuntimeFailed) as failed:
        await start("true")
    assert failed.value.reason is Reason.WORKSPACE_MISSING


async def test_held_output_makes_the_writer_wait(start: Starter) -> None:
    process = await start("sh", "-c", "read go; yes | head -c 3000000; echo done >&2", limit=1024)
    process.hold_output(True)  # before there is any
    process.stdin.write(b"go\n")
    await process.stdin.drain()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.stdout.read(4_000_000), 0.3)
    process.hold_output(False)
    size = 0
    while data := await process.stdout.read(1 << 16):
        size += len(data)
    assert size == 3_000_000
    assert await process.stderr.read() == b"done\n"


async def test_stopping_climbs_to_the_signal_that_helps(start: Starter) -> None:
    code = (
        "import signal,time; signal.signal(2, signal.SIG_IGN); signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    )
    process = await start(sys.executable, "-c", code + "; time.sleep(300)")
    await process.stdout.readline()
    assert await process.stop([(signal.SIGINT, 0.1), (signal.SIGTERM, 0.1), (signal.SIGKILL, 5)])
    assert await process.exited == -9


async def test_a_sweep_finds_what_left_the_session(start: Starter) -> None:
    process = await start(sys.executable, "-c", ESCAPE)
    await process.stdout.readline()
    await eventually_async(lambda: len(marked(start.run_id)) == 2)
    await process.stop([(signal.SIGTERM, 0.1), (signal.SIGKILL, 5)])
    await eventually_async(lambda: len(marked(start.run_id)) == 1)
    assert await sweep(start.run_id, None)
    assert marked(start.run_id) == []


async def test_a_sweep_spares_other_runs(start: Starter, tmp_path: Path) -> None:
    process = await start("sleep", "300")
    assert strike(str(new_id()), None) == 0
    assert not process.exited.done()


async def test_a_program_that_exits_at_once_is_not_taken_for_an_orphan(tmp_path: Path) -> None:
    async def reap() -> None:
        while True:
            reap_orphans()
            await asyncio.sleep(0)

    reaper = asyncio.create_task(reap())
    await asyncio.sleep(0)
    for _ in range(20):
        process = await Process.start(("false",), tmp_path, {"PATH": os.environ["PATH"]})
        assert await process.exited == 1
        await process.release()
    reaper.cancel()
