"""Runs on a real node: started once, forwarded live, steered, and left alive when their node server goes."""

import asyncio
import errno
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from nodes.contract.commands import CancelRun, StartRun
from nodes.contract.ids import new_id
from nodes.pb import link_pb2 as pb
from nodes.server.commands import CommandDesk
from nodes.server.held import HeldRun
from nodes.server.holding import HeldRuns
from nodes.server.rundir import RunDir, Standing
from tests.node.hub import SmallHub
from tests.node.parts import NodeProcess, start_of
from tests.support import eventually, eventually_async

COUNT_STARTS = "open('starts', 'a').write('x'); print('hello from the agent')"
TICK = "import time\nfor n in range({ticks}):\n    print('tick', n, flush=True); time.sleep(0.05)"
WAIT = "import time\nopen('started', 'w').close(); time.sleep(600)"


@pytest.fixture
def run_id() -> str:
    return str(new_id())


@pytest.fixture
async def linked(node: NodeProcess, hub: SmallHub) -> SmallHub:
    await hub.connect()
    return hub


def python(run_id: str, home: Path, script: str, **fields: object) -> StartRun:
    return start_of(run_id, home, sys.executable, "-c", script, **fields)


def directory_of(node: NodeProcess, run_id: str) -> RunDir:
    return RunDir(node.home / "node/runs", run_id)


def output_of(hub: SmallHub, run_id: str) -> str:
    return "".join(payload["text"] for _, type_, payload in hub.runs[run_id].records if type_ == "run.output")


async def test_a_run_is_executed_and_its_records_arrive(node: NodeProcess, linked: SmallHub, run_id: str) -> None:
    assert (await linked.command(run_id, python(run_id, node.home, COUNT_STARTS))).accepted
    assert await linked.ended(run_id) == "run.completed"
    assert "hello from the agent" in output_of(linked, run_id)
    assert linked.runs[run_id].types[0] == "run.started"
    assert linked.runs[run_id].is_dense()


async def test_a_repeated_start_gets_its_answer_and_starts_nothing(
    node: NodeProcess, linked: SmallHub, run_id: str
) -> None:
    spec = python(run_id, node.home, COUNT_STARTS)
    first = await linked.command(run_id, spec)
    again = await linked.command(run_id, spec, id_=first.id)
    other_id = await linked.command(run_id, spec)
    await linked.ended(run_id)
    after = await linked.command(run_id, spec)
    assert [answer.accepted for answer in (first, again, other_id, after)] == [True] * 4
    assert (node.home / "work/starts").read_text() == "x"
    assert linked.runs[run_id].types.count("run.started") == 1


async def test_more_runs_than_there_is_room_for_are_refused_for_now(idle_node: NodeProcess, hub: SmallHub) -> None:
    idle_node.environment["AGENTHUB_NODE__CAPACITY"] = "1"
    idle_node.start()
    await hub.connect()
    first, second = str(new_id()), str(new_id())
    await hub.command(first, python(first, idle_node.home, WAIT))
    refused = await hub.command(second, python(second, idle_node.home, COUNT_STARTS))
    assert (refused.accepted, refused.code) == (False, "capacity")
    await hub.command(first, CancelRun(run=first))
    await hub.ended(first)
    again = await hub.command(second, python(second, idle_node.home, COUNT_STARTS), id_=refused.id)
    assert again.accepted
    assert await hub.ended(second) == "run.completed"


async def test_a_place_is_free_as_soon_as_the_hub_may_know_of_the_end(tmp_path: Path) -> None:
    """The ending is read by the node server before its supervisor's word of it, and the next start may be faster."""
    runs = HeldRuns(tmp_path / "runs", NoStarter(), 1024 * 1024)
    ended = RunDir(tmp_path / "runs", str(new_id()))
    ended.write_spec(start_of(ended.run_id, tmp_path))
    lock = ended.take_lock()
    held = runs.hold(ended)
    ended.write_ended(1)
    assert held.is_live
    desk = CommandDesk(runs, capacity=1)
    next_ = start_of(str(new_id()), tmp_path)
    command = pb.Command(id=str(new_id()), run_id=next_.run, kind=next_.KIND, body=next_.model_dump_json().encode())
    assert (await desk.answer(command)).accepted
    lock.release()
    await runs.aclose()


@pytest.fixture
async def spooled(tmp_path: Path) -> AsyncIterator[HeldRuns]:
    """Two runs that have something on the disk."""
    runs = HeldRuns(tmp_path / "runs", NoStarter(), 1024 * 1024)
    for _ in range(2):
        directory = RunDir(tmp_path / "runs", str(new_id()))
        directory.write_spec(start_of(directory.run_id, tmp_path))
        (directory.path / "spool-1-1").write_bytes(b"x")
        runs.hold(directory).is_dirty = True
    yield runs
    await runs.aclose()


async def test_a_disk_that_stands_still_does_not_keep_the_word_of_the_hub_from_the_supervisors(
    spooled: HeldRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands, goes_on = threading.Event(), threading.Event()
    told: list[bool] = []

    async def tell(run: HeldRun, is_linked: bool) -> None:
        told.append(is_linked)

    def stand(descriptor: int) -> None:
        stands.set()
        goes_on.wait(60)

    monkeypatch.setattr("nodes.server.holding.os.fdatasync", stand)
    monkeypatch.setattr(HeldRun, "tell_link", tell)
    tasks = [asyncio.create_task(spooled.keep_up()), asyncio.create_task(spooled.say_link())]
    try:
        await eventually_async(stands.is_set)
        told.clear()
        spooled.is_linked = True
        await eventually_async(lambda: told.count(True) >= 2)
        assert not goes_on.is_set()
    finally:
        goes_on.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_spool_that_could_not_be_synced_is_synced_again_and_keeps_no_other_waiting(
    spooled: HeldRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fdatasync

    def fail_once(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        if len(synced) == 1:
            raise OSError(errno.EIO, "the disk has an error")
        sync(descriptor)

    monkeypatch.setattr("nodes.server.holding.os.fdatasync", fail_once)
    keeping = asyncio.create_task(spooled.keep_up())
    try:
        await eventually_async(lambda: len(synced) == 3)
        assert len(set(synced[:2])) == 2
        assert synced[2] == synced[0]
        await eventually_async(lambda: not any(run.is_dirty for run in spooled))
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


class NoStarter:
    """Starts and settles nothing."""

    async def start(self, run_id: str) -> None:
        """Nothing."""

    async def settle(self, run_id: str) -> None:
        """Nothing."""


async def test_a_cancelled_run_ends_and_leaves_no_process(node: NodeProcess, linked: SmallHub, run_id: str) -> None:
    await linked.command(run_id, python(run_id, node.home, WAIT))
    await eventually_async((node.home / "work/started").exists)
    assert (await linked.command(run_id, CancelRun(run=run_id))).accepted
    assert await linked.ended(run_id) == "run.cancelled"
    await eventually_async(lambda: not agents_of(run_id))


async def test_a_live_run_that_the_hub_does_not_know_is_ended(node: NodeProcess, linked: SmallHub, run_id: str) -> None:
    await linked.command(run_id, python(run_id, node.home, WAIT))
    await eventually_async((node.home / "work/started").exists, timeout=30)
    await linked.aclose()
    linked.refuses.add(run_id)
    await linked.connect()
    await eventually_async(lambda: directory_of(node, run_id).standing() is Standing.BURIED, timeout=30)
    assert not agents_of(run_id)


async def test_a_run_goes_on_without_a_hub_and_nothing_is_lost(
    node: NodeProcess, linked: SmallHub, run_id: str
) -> None:
    await linked.command(run_id, python(run_id, node.home, TICK.format(ticks=30)))
    await eventually_async(lambda: "tick 3" in output_of(linked, run_id))
    await linked.aclose()
    await eventually_async(lambda: directory_of(node, run_id).standing() is Standing.ENDED, timeout=30)
    hello = await linked.connect()
    assert [run.run_id for run in hello.runs] == [run_id]
    assert await linked.ended(run_id) == "run.completed"
    assert linked.runs[run_id].is_dense()
    assert "tick 29" in output_of(linked, run_id)


async def test_sigterm_stops_the_node_server_and_leaves_its_runs(
    node: NodeProcess, linked: SmallHub, run_id: str
) -> None:
    await linked.command(run_id, python(run_id, node.home, WAIT))
    await eventually_async((node.home / "work/started").exists)
    assert node.terminate() == 0
    assert (await linked.link.wait_closed()).data["code"] == "stopping"
    assert directory_of(node, run_id).is_locked()
    assert agents_of(run_id)


async def test_what_was_accepted_and_never_started_is_started_at_the_next_start(
    idle_node: NodeProcess, hub: SmallHub, run_id: str
) -> None:
    directory = directory_of(idle_node, run_id)
    directory.write_spec(python(run_id, idle_node.home, COUNT_STARTS))
    idle_node.start()
    await hub.connect()
    assert await hub.ended(run_id) == "run.completed"


async def test_a_command_accepted_before_the_crash_is_applied_after_it(
    node: NodeProcess, linked: SmallHub, run_id: str
) -> None:
    await linked.command(run_id, python(run_id, node.home, WAIT))
    await eventually_async((node.home / "work/started").exists)
    node.kill()
    directory_of(node, run_id).commands.accept(str(new_id()), CancelRun.KIND, {"run": run_id})
    node.start()
    await linked.aclose()
    await linked.connect()
    assert await linked.ended(run_id) == "run.cancelled"


async def test_a_run_whose_supervisor_died_with_the_node_server_gets_its_ending(
    node: NodeProcess, linked: SmallHub, run_id: str
) -> None:
    await linked.command(run_id, python(run_id, node.home, WAIT))
    await eventually_async((node.home / "work/started").exists)
    node.kill()
    holder = directory_of(node, run_id).holder()
    assert holder is not None
    for process in [*spawners_of(node.home), psutil.Process(holder.pid)]:
        os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: not directory_of(node, run_id).is_locked())
    node.start()
    await linked.aclose()
    await linked.connect()
    assert await linked.ended(run_id) == "run.failed"
    assert linked.runs[run_id].records[-1][2]["reason"] == "supervisor_lost"
    await eventually_async(lambda: not agents_of(run_id))


def agents_of(run_id: str) -> list[int]:
    """Processes that carry the run's marker."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AGENTHUB_RUN_ID") == run_id:
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def spawners_of(home: Path) -> list[psutil.Process]:
    """Whoever holds the spawner's lock, found by its open file."""
    lock = str(home / "node/spawner.lock")
    found = []
    for process in psutil.process_iter():
        try:
            links = [str(entry.readlink()) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
        except OSError:
            continue
        if lock in links:
            found.append(process)
    return found
