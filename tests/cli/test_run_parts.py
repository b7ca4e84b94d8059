"""The parts of a hub by themselves: not beside an ``up`` on the same home, and gone when they are asked to end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from agenthub_site.homelock import HomeTaken, hold_home, share_home
from agenthub_site.operator_socket import OperatorSocket
from integrations.cli.exits import Exit
from tests.prepared import give_database
from tests.support import eventually

PARTS = (["web", "--listen", "127.0.0.1:0"], ["controlplane"], ["worker"])
pytestmark = pytest.mark.timeout(150)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "agenthub_site.main", *arguments]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part[0])
def test_a_part_is_refused_beside_an_up(home: Path, part: list[str]) -> None:
    (home / "hub.sock").touch()
    with hold_home(home) as held:
        held.tell(pid=4711, address="http://127.0.0.1:1")
        environ = {**os.environ, "AGENTHUB_HOME": str(home)}
        ended = subprocess.run(command(*part), env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == Exit.REFUSED, ended.stderr
    assert "process 4711" in ended.stderr and "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert (home / "hub.sock").exists()


def test_parts_share_a_home_and_keep_an_up_out(home: Path) -> None:
    with (
        share_home(home, "web server"),
        share_home(home, "worker"),
        pytest.raises(HomeTaken, match="Parts of a hub"),
        hold_home(home),
    ):
        pass
    with hold_home(home):
        pass


async def test_a_second_web_server_of_a_home_leaves_the_operators_socket_to_the_first(home: Path) -> None:
    async def nothing(*_arguments: object) -> None: ...

    first, second, third = (OperatorSocket(home / "hub.sock", nothing, nothing) for _ in range(3))
    await first.start()
    inode = (home / "hub.sock").stat().st_ino
    await second.start()
    await second.stop(1)
    assert (home / "hub.sock").stat().st_ino == inode
    await first.stop(1)
    await third.start()
    assert (home / "hub.sock").exists()
    await third.stop(1)
    assert not (home / "hub.sock").exists()


@pytest.fixture
def worker(home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker in a process group of its own, with all of its processes."""
    environ = {**os.environ, "AGENTHUB_HOME": str(home)}
    give_database(home)
    subprocess.run(command("prepare"), env=environ, capture_output=True, timeout=100, check=True)
    process = subprocess.Popen(
        command("worker"), env=environ, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    eventually(lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 4, 60)
    yield process
    for left in processes_of(home):
        with suppress(psutil.Error):
            left.kill()
    process.wait()


def processes_of(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("AGENTHUB_HOME") == str(home):
                found.append(process)
    return found


@pytest.mark.parametrize("ask", [os.kill, os.killpg], ids=["itself", "its group"])
def test_a_worker_ends_with_all_of_its_processes(
    worker: "subprocess.Popen[bytes]", home: Path, ask: Callable[[int, int], None]
) -> None:
    ask(worker.pid, signal.SIGTERM)
    assert worker.wait(60) == Exit.OK
    assert processes_of(home) == []
