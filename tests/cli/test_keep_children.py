"""The parent's parts, with real processes."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agenthub_site import children
from agenthub_site.children import Child, LogFile
from agenthub_site.homelock import HomeTaken, HomeUnusable, hold_home, live_runs, wait_for_children
from nodes.server import proc
from tests.support import eventually

Make = Callable[[str], Child]


class ScriptChild(Child):
    """A child that runs a piece of Python instead of a part of the hub."""

    def start(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", self._arguments[0])
            super().start()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """``make(script)`` starts a child whose program is the shell script given."""
    started: list[Child] = []
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)

    def start(script: str) -> Child:
        program = tmp_path / f"program{len(started)}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        child = ScriptChild("part", [str(program)], dict(os.environ), tmp_path, lock, echo=False)
        started.append(child)
        child.start()
        return child

    yield start
    for child in started:
        child.stop(0)
    os.close(lock)


def says(child: Child, line: str) -> bool:
    child.pump()
    return line in child.tail


def reaped(child: Child) -> int:
    statuses: list[int] = []

    def look() -> bool:
        child.pump()
        if (status := child.reap()) is not None:
            statuses.append(status)
        return bool(statuses)

    eventually(look)
    return statuses[0]


def test_a_dead_child_is_noticed_though_a_grandchild_holds_its_pipe(make: Make, tmp_path: Path) -> None:
    child = make("sleep 60 & echo $! > " + str(tmp_path / "grandchild") + "; echo last words; exit 3")
    assert reaped(child) == 3
    assert list(child.tail) == ["last words"]
    grandchild = int((tmp_path / "grandchild").read_text())
    eventually(lambda: (stat := proc.stat_of(grandchild)) is None or stat.state == "Z")


def test_what_it_printed_is_in_its_log(make: Make, tmp_path: Path) -> None:
    child = make("echo one; echo two >&2; printf unfinished")
    assert reaped(child) == 0
    assert (tmp_path / "part.log").read_text() == "one\ntwo\nunfinished"
    assert list(child.tail) == ["one", "two", "unfinished"]
    assert (tmp_path / "part.log").stat().st_mode & 0o777 == 0o600


def test_a_child_that_dies_at_once_starts_again_later_each_time(make: Make) -> None:
    child = make("exit 1")
    delays = []
    for _ in range(4):
        reaped(child)
        delays.append(child.restart_at - time.monotonic())
        child.start()
    assert child.deaths == 4
    assert delays == sorted(delays) and delays[-1] > delays[0]


def test_a_child_that_ignores_the_request_to_end_is_killed(make: Make) -> None:
    child = make("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    eventually(lambda: says(child, "ready"))
    child.stop(0.2)
    assert child.process is None and child.restart_at == float("inf")


def test_a_child_of_a_killed_parent_ends(tmp_path: Path) -> None:
    parent = os.fork()
    if parent == 0:  # the child process of this test is the parent of the hub's part
        environ = {**os.environ, "AGENTHUB_HOME": str(tmp_path)}
        lock = os.open(tmp_path / "children.lock", os.O_RDWR | os.O_CREAT)
        part = Child(
            "part", ["manage", "shell", "-c", "import time; time.sleep(60)"], environ, tmp_path, lock, echo=False
        )
        part.start()
        (tmp_path / "pid").write_text(str(part.process.pid if part.process else 0))
        signal.pause()
    pid = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_a_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LOG_BYTES", 1000)
    log = LogFile(tmp_path / "x.log")
    for number in range(100):
        log.write(f"{number:099}\n".encode())
    log.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= children.LOGS_KEPT * 1000
    assert (tmp_path / "x.log.1").read_bytes().endswith(b"99\n")


def test_a_home_has_one_parent(tmp_path: Path) -> None:
    with hold_home(tmp_path) as home:
        home.tell(pid=4711, address="http://127.0.0.1:8080")
        with pytest.raises(HomeTaken, match=r"http://127.0.0.1:8080 \(process 4711\)"), hold_home(tmp_path):
            pass
    with hold_home(tmp_path):
        pass


def test_a_home_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeUnusable, match="AGENTHUB_HOME"), hold_home(tmp_path / "file" / "home"):
        pass


def test_a_new_parent_waits_for_the_children_of_a_killed_one(tmp_path: Path) -> None:
    first = wait_for_children(tmp_path, lambda: None)
    told = []

    def on_wait() -> None:
        told.append("waiting")
        os.close(first)

    os.close(wait_for_children(tmp_path, on_wait))
    assert told == ["waiting"]


def test_a_live_run_is_one_whose_lock_is_held(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "lock").touch()
    import fcntl

    with (tmp_path / "runs" / "b" / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert live_runs(tmp_path) == ["b"]
    assert live_runs(tmp_path) == []
