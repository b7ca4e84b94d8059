"""kill -9, escapes and damage: the run ends, says why, and leaves no process."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodes.contract.commands import CancelRun
from nodes.contract.events import Output
from nodes.contract.ids import new_id
from nodes.server import proc
from nodes.server.rundir import RunDir, Standing
from nodes.server.settle import settle
from nodes.server.spawner_client import SpawnerClient
from nodes.server.spool import SpoolWriter
from tests.supervisor.conftest import Node, only, stop_spawner, texts
from tests.supervisor.test_keep_rundir import make_spec
from tests.supervisor.test_start_process import ESCAPE
from tests.support import eventually, eventually_async


@pytest.fixture
def own_home() -> Iterator[Path]:
    """A home with a spawner of its own."""
    home = Path(tempfile.mkdtemp(prefix="aho-", dir="/tmp")).resolve()
    (home / "code").mkdir()
    yield home
    stop_spawner(home / "node")
    shutil.rmtree(home, ignore_errors=True)


def begun(runs: Path) -> RunDir:
    """A run that a supervisor of this boot had in hand."""
    run = RunDir(runs, str(new_id()))
    run.write_spec(make_spec(run.run_id))
    lock = run.take_lock()
    lock.sign()
    lock.release()
    return run


async def kill_supervisor(node: Node, run: RunDir) -> None:
    os.kill(node.supervisor_pid(run), signal.SIGKILL)
    await node.ended(run)


async def test_a_killed_supervisor_ends_its_run_and_the_tail_is_kept(node: Node) -> None:
    run = await node.start("sh", "-c", "echo one; sleep 300 & setsid sleep 301 & sleep 302")
    await node.event(run, "run.output")
    await kill_supervisor(node, run)
    events = node.events(run)
    assert texts(events) == "one\n"
    assert only(events, "run.failed")["reason"] == "supervisor_lost"
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert node.leftovers() == []


async def test_a_killed_supervisor_costs_no_other_run(node: Node) -> None:
    other = await node.start("sh", "-c", "echo up; sleep 1; echo done")
    run = await node.start("sh", "-c", "echo up; sleep 300")
    for each in (other, run):
        await node.event(each, "run.output")
    await kill_supervisor(node, run)
    await node.ended(other)
    assert texts(node.events(other)) == "up\ndone\n"


@pytest.mark.parametrize("wipe", [[], ["wipe"]], ids=["marked", "without_environment"])
@pytest.mark.parametrize("how", ["cancel", "kill"])
async def test_a_detached_deaf_process_is_ended_too(node: Node, wipe: list[str], how: str) -> None:
    run = await node.start(sys.executable, "-c", f"import os; print('pid', os.getpid())\n{ESCAPE}", *wipe)
    await node.event(run, "run.output")
    pid = node.supervisor_pid(run)

    def family() -> dict[int, int]:
        stats = list(proc.all_stats())
        below = proc.descendants_of(pid, stats)
        return {stat.pid: stat.started for stat in stats if stat.pid in below and stat.state != "Z"}

    await eventually_async(lambda: len(family()) == 2)
    born = family()
    if how == "cancel":
        await node.tell(run, CancelRun(run=run.run_id))
        await node.ended(run)
    else:
        await kill_supervisor(node, run)
    for child, started in born.items():
        stat = proc.stat_of(child)
        assert stat is None or stat.started != started or stat.state == "Z"


async def test_a_run_without_a_supervisor_is_settled_without_the_spawner(tmp_path: Path) -> None:
    run = begun(tmp_path)
    writer = SpoolWriter(run.path, 1)
    for number in range(5):
        writer.append(Output(stream="stdout", text=str(number)))
    writer.flush()
    orphan = subprocess.Popen(["sleep", "300"], env={"PATH": os.environ["PATH"], proc.RUN_MARKER: run.run_id})
    assert settle(run)
    assert orphan.wait(5) == -9
    node = Node(tmp_path, None)  # type: ignore[arg-type]
    assert [event.type for event in node.events(run)] == ["run.output"] * 5 + ["run.failed"]
    assert run.standing() is Standing.ENDED and run.ended_at() == 6
    assert settle(run) and len(node.events(run)) == 6


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_tail_is_said_before_the_ending(tmp_path: Path, cut: int) -> None:
    run = begun(tmp_path)
    writer = SpoolWriter(run.path, 1)
    for number in range(3):
        writer.append(Output(stream="stdout", text=str(number)))
    writer.flush()
    spool = run.path / "spool-1-1"
    os.truncate(spool, spool.stat().st_size - cut)
    assert settle(run)
    events = Node(tmp_path, None).events(run)  # type: ignore[arg-type]
    assert [(event.seq, event.type) for event in events] == [
        (1, "run.output"), (2, "run.output"), (3, "run.gap.found"), (4, "run.failed"),
    ]  # fmt: skip
    assert events[2].payload["after_origin_seq"] == 2 and events[2].payload["lost_bytes"] > 0


def test_an_ending_that_was_written_but_not_said_stays_the_only_one(tmp_path: Path) -> None:
    run = begun(tmp_path)
    SpoolWriter(run.path, 1).close()
    assert settle(run)
    (run.path / "ended").unlink()
    assert run.standing() is Standing.ORPHANED
    assert settle(run)
    assert [event.type for event in Node(tmp_path, None).events(run)] == ["run.failed"]  # type: ignore[arg-type]


@pytest.mark.parametrize("lock", ['{"pid": 1, "started": 1, "boot_id": "another"}', ""], ids=["kept", "lost"])
def test_a_run_of_an_earlier_boot_says_so(tmp_path: Path, lock: str) -> None:
    run = begun(tmp_path)
    SpoolWriter(run.path, 1).close()
    (run.path / "lock").write_text(lock)
    assert settle(run)
    (event,) = Node(tmp_path, None).events(run)  # type: ignore[arg-type]
    assert event.payload["reason"] == "node_rebooted"


async def test_runs_survive_their_spawner(own_home: Path, make_client: Callable[[Path], SpawnerClient]) -> None:
    client = make_client(own_home)
    node = Node(own_home, client)
    run = await node.start("sh", "-c", "echo up; sleep 1.5; echo done")
    await node.event(run, "run.output")
    os.kill(await client.ensure(), signal.SIGKILL)
    second = await node.start("echo", "again")
    await node.ended(second)
    await node.ended(run)
    assert texts(node.events(run)) == "up\ndone\n" and texts(node.events(second)) == "again\n"
    await client.aclose()


async def test_a_supervisor_that_outlived_its_spawner_can_be_settled(
    own_home: Path, make_client: Callable[[Path], SpawnerClient]
) -> None:
    client = make_client(own_home)
    node = Node(own_home, client)
    run = await node.start("sh", "-c", "echo up; sleep 300")
    await node.event(run, "run.output")
    os.kill(await client.ensure(), signal.SIGKILL)
    os.kill(node.supervisor_pid(run), signal.SIGKILL)
    await eventually_async(lambda: run.standing() is Standing.ORPHANED)
    await client.settle(run.run_id)
    assert run.standing() is Standing.ENDED and node.leftovers() == []
    await client.aclose()


async def test_a_new_node_server_finds_the_same_spawner(
    own_home: Path, make_client: Callable[[Path], SpawnerClient]
) -> None:
    first = make_client(own_home)
    pid = await first.ensure()
    await first.aclose()
    second = make_client(own_home)
    assert await second.ensure() == pid
    await second.aclose()


async def test_a_key_set_since_the_spawners_start_reaches_the_next_agent(
    own_home: Path, make_client: Callable[[Path], SpawnerClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(own_home)
    old = await client.ensure()
    assert await client.ensure() == old
    monkeypatch.setenv("ANTHROPIC_API_KEY", "set-since-then")
    new = await client.ensure()
    assert new != old and await client.ensure() == new
    await client.aclose()


async def test_an_outdated_spawner_is_replaced_and_leaves_with_its_last_run(
    own_home: Path, make_client: Callable[[Path], SpawnerClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(own_home)
    node = Node(own_home, client)
    old = await client.ensure()
    script = 'echo up; until [ -e "$0" ]; do sleep 0.1; done; echo done'
    run = await node.start("sh", "-c", script, str(own_home / "go"))
    await node.event(run, "run.output")
    monkeypatch.setattr("nodes.server.spawner_client.spawner_version", lambda: "newer")
    new = await client.ensure()
    stat = proc.stat_of(old)
    assert new != old and stat is not None and stat.state != "Z"
    (own_home / "go").touch()
    await node.ended(run)
    assert texts(node.events(run)) == "up\ndone\n"
    eventually(lambda: (stat := proc.stat_of(old)) is None or stat.state == "Z")
    await client.aclose()


async def test_an_idle_spawner_leaves(own_home: Path, make_client: Callable[[Path], SpawnerClient]) -> None:
    client = make_client(own_home)
    pid = await client.ensure()
    await client.aclose()
    await eventually_async(lambda: (stat := proc.stat_of(pid)) is None or stat.state == "Z")


async def test_a_supervisor_knows_neither_django_nor_grpc(node: Node) -> None:
    code = "import sys; import nodes.server.spawner as s; s.warm_up()\n"
    code += "import threading; print(threading.active_count(), sorted({'django', 'grpc'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 []"
    maps = Path(f"/proc/{await node.spawner.ensure()}/maps").read_text()
    assert "cygrpc" not in maps and len(list(Path(f"/proc/{await node.spawner.ensure()}/task").iterdir())) == 1


async def test_dead_orphans_do_not_pile_up_during_a_run(node: Node) -> None:
    orphans = "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'sleep 0.1' &) ; done; echo up; sleep 300"
    run = await node.start("sh", "-c", orphans)
    await node.event(run, "run.output")
    pid = node.supervisor_pid(run)
    await eventually_async(lambda: [s.state for s in proc.all_stats() if s.parent == pid] == ["S"])


async def test_nothing_is_left_of_many_runs(node: Node) -> None:
    pid = await node.spawner.ensure()
    runs = [await node.start("sh", "-c", "sleep 300 & setsid sleep 300 & echo up") for _ in range(20)]
    for run in runs:
        await node.ended(run)
    assert node.leftovers() == []
    await eventually_async(lambda: not proc.descendants_of(pid, list(proc.all_stats())))
