"""Real web processes, with Alice's runs in them."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.prepared import POSTGRES, own_database

ENGINES = ("uvicorn",) if POSTGRES else ("daphne", "uvicorn")
"""On PostgreSQL the one that hubs on it have; the server makes no difference to the database."""


class HubProcess:
    """``tests.readers.hub_process``, started and stopped."""

    def __init__(self, home: Path, *options: str, **environ: str) -> None:
        self.home = home
        ready, told = os.pipe()
        self._log = (home / "log").open("wb")
        env = {key: value for key, value in os.environ.items() if not key.startswith("AGENTHUB_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.readers.hub_process", "--ready-fd", str(told), *options],
            env={**env, "AGENTHUB_HOME": str(home), **own_database(home), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            pass_fds=(told,),
        )
        os.close(told)
        self._ready = ready
        self._unread: dict[int, bytes] = {}
        self.known: dict[str, str] = self._answer(60)
        self.url = self._read_line(ready, 60)
        self.address = self.url.partition("://")[2]
        self.run = self.known["run"]
        self.alice = self.known["alice"]

    def ask(self, command: str, timeout: float = 60, **options: Any) -> Any:
        """Have the process do something, and wait for its answer."""
        self.tell(command, **options)
        return self._answer(timeout)["answer"]

    def with_new_run(self) -> "HubProcess":
        self.run = self.ask("start_another_run")
        return self

    def tell(self, command: str, **options: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"command": command, **options}).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, timeout: float = 60) -> Any:
        return self._answer(timeout)["answer"]

    def append(self, count: int, **options: Any) -> int:
        number: int = self.ask("append", run=options.pop("run", self.run), count=count, **options)
        return number

    def stop(self, how: int = signal.SIGTERM, timeout: float = 60) -> int:
        """Its exit code."""
        self.process.send_signal(how)
        try:
            return self.process.wait(timeout)
        finally:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1
        for pipe in (self.process.stdin, self.process.stdout, self._log):
            if pipe:
                pipe.close()

    @property
    def log(self) -> str:
        return (self.home / "log").read_text("utf-8", "replace")

    def _answer(self, timeout: float) -> Any:
        assert self.process.stdout
        return json.loads(self._read_line(self.process.stdout.fileno(), timeout))

    def _read_line(self, descriptor: int, timeout: float) -> str:
        end, data = time.monotonic() + timeout, self._unread.pop(descriptor, b"")
        while b"\n" not in data:
            readable, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
            more = os.read(descriptor, 1 << 20) if readable else b""
            if not more:
                self.kill()
                raise AssertionError(f"The hub said nothing more. Its log:\n{self.log[-4000:]}")
            data += more
        line, _, self._unread[descriptor] = data.partition(b"\n")
        return line.decode().strip()


@pytest.fixture(scope="session")
def shared() -> Iterator[Callable[[str], HubProcess]]:
    """One process per engine, started when first asked for."""
    processes: dict[str, HubProcess] = {}
    homes: list[Path] = []

    def get(engine: str) -> HubProcess:
        if engine not in processes:
            homes.append(Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp")))
            processes[engine] = HubProcess(homes[-1], "--engine", engine)
        return processes[engine]

    yield get
    for process in processes.values():
        process.kill()
    for home in homes:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def hub(engine: str, shared: Callable[[str], HubProcess]) -> HubProcess:
    """A web process under each of the two servers, shared with other tests, with a new run of Alice's."""
    return shared(engine).with_new_run()


@pytest.fixture
def any_hub(shared: Callable[[str], HubProcess]) -> HubProcess:
    """One of them, where the server makes no difference."""
    return shared(ENGINES[0]).with_new_run()


@pytest.fixture
def own_hub(engine: str, home: Path) -> Iterator[HubProcess]:
    """A web process for this test alone, under each server, to be stopped or spoiled."""
    process = HubProcess(home, "--engine", engine)
    yield process
    process.kill()


@pytest.fixture
def own_any_hub(home: Path) -> Iterator[HubProcess]:
    process = HubProcess(home, "--engine", ENGINES[0])
    yield process
    process.kill()


@pytest.fixture
async def http(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """A client of whichever hub the test has."""
    name = next(name for name in request.fixturenames if name.endswith("hub"))
    hub: HubProcess = request.getfixturevalue(name)
    async with httpx.AsyncClient(base_url=hub.url, timeout=30) as client:
        yield client
