"""A real `agenthub up` on a home of its own, driven as a user would drive it."""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from tests.prepared import give_database
from tests.support import eventually, free_port

AGENTHUB = (sys.executable, "-P", "-m", "agenthub_site.main")
READY_SECONDS = 180.0
"""A first start on PostgreSQL is ten seconds of work, of a machine that may have other things to do."""
STOP_SECONDS = 30.0
Ended = subprocess.CompletedProcess[str]


class Hub:
    """One home. ``up`` may be called again after a stop."""

    def __init__(
        self, home: Path, agenthub: tuple[str, ...] = AGENTHUB, environ: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.home = home
        self.told: dict[str, Any] = {}
        """What `up --json` printed when it was ready."""
        self.said = ""
        """What it said on standard error so far."""
        self.agenthub = agenthub
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AGENTHUB_", "DJANGO_"))},
            "AGENTHUB_HOME": str(home),
            # One that nobody else is given between its choice and the start of the web server.
            "AGENTHUB_SERVER__LISTEN": f"127.0.0.1:{free_port()}",
            "AGENTHUB_INTERNAL_GRPC__LISTEN": "127.0.0.1:0",  # its default is one port, and several hubs are up
            **environ,
        }

    def up(self, *arguments: str, **environ: str) -> dict[str, Any]:
        """Start it, wait until it is ready."""
        self.start(*arguments, **environ)
        process = self._process
        assert process and process.stdout
        line: list[str] = []
        reader = threading.Thread(target=lambda: line.append(process.stdout.readline() if process.stdout else ""))
        reader.start()
        reader.join(READY_SECONDS)
        assert line and line[0], f"it did not get ready: {self.said}{self.logs()}"
        self.told = json.loads(line[0])
        assert "address" in self.told, f"{self.told} {self.said}{self.logs()}"
        return self.told

    def start(self, *arguments: str, **environ: str) -> None:
        self._process = subprocess.Popen(
            [*self.agenthub, "up", "--json", *arguments],
            env={**self.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, args=(self._process,))
        self._listener.start()

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stderr or ():
            self.said += line

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ask it to end as Ctrl-C does; the exit code."""
        assert self._process
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """The exit code, once it has ended by itself; it is killed if that takes too long."""
        process = self._process
        assert process
        try:
            return process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()
            self._listener.join(10)
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()

    def cli(self, *arguments: str, timeout: float = 90, **environ: str) -> Ended:
        """A client command, run to its end."""
        return subprocess.run(
            [*self.agenthub, *arguments], env={**self.environ, **environ},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def give(self, text: str, *arguments: str) -> Ended:
        """The same, with ``text`` on its standard input."""
        return subprocess.run(
            [*self.agenthub, *arguments], env=self.environ, input=text,
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    def ask(self, *arguments: str) -> Any:
        """The JSON that a client command prints."""
        ended = self.cli(*arguments, "--json")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    def start_run(self, prompt: str, agent: str = "demo", *options: str) -> str:
        return str(self.ask("run", agent, prompt, *options)["id"])

    def run_of(self, run: str) -> Any:
        return next(found for found in self.ask("runs", "--limit", "200") if found["id"] == run)

    def events(self, run: str) -> list[Any]:
        return [json.loads(line) for line in self.cli("logs", run, "--json").stdout.splitlines()]

    def child(self, *words: str) -> int:
        """The process id of a part of the hub, such as ``node run``."""
        wanted = ["agenthub_site.main", *words]

        def find() -> int:
            for process in psutil.Process(self.pid).children():
                with suppress(psutil.Error):
                    if " ".join(wanted) in " ".join(process.cmdline()):
                        return process.pid
            return 0

        return eventually(find)

    def follow(self, run: str, *options: str) -> "Follower":
        return Follower([*self.agenthub, "logs", run, "--follow", "--json", *options], self.environ)

    def logs(self) -> str:
        """The ends of all logs, for messages of failures."""
        return "".join(
            f"\n--- {path.name}\n{path.read_text('utf-8', 'replace')[-4000:]}"
            for path in sorted(self.home.glob("logs/*.log"))
        )

    def close(self) -> None:
        """End everything, the runs and what they started included."""
        if self._process and self._process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop(signal.SIGTERM)
        elif self._process:
            self.wait()
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()

    def processes(self) -> list[psutil.Process]:
        """Every process whose environment names this home."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("AGENTHUB_HOME") == str(self.home):
                    found.append(process)
        return found


class Follower:
    """`agenthub logs RUN --follow --json`, read as it comes."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        self.events: list[Any] = []
        self.said = ""
        self._process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        atexit.register(self._process.kill)  # a test that fails leaves it, and nobody waits for it
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._read, self._listen)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.events.append(json.loads(line))

    def _listen(self) -> None:
        for line in self._process.stderr or ():
            self.said += line

    def has(self, kind: str) -> bool:
        return any(event["type"] == kind for event in self.events)

    def wait(self, timeout: float = 90) -> int:
        """The exit code, once the run is over."""
        try:
            code = self._process.wait(timeout)
        finally:
            self._process.kill()
            self._process.wait()
            for thread in self._threads:
                thread.join(10)
            for stream in (self._process.stdout, self._process.stderr):
                if stream:
                    stream.close()
        return code

    def kill(self) -> None:
        """Stop reading."""
        self._process.kill()
        self.wait()

    def seqs(self) -> list[int]:
        return [event["seq"] for event in self.events]


@contextmanager
def new_hub(
    home: Path,
    agenthub: tuple[str, ...] = AGENTHUB,
    *,
    first_start: bool = False,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Hub]:
    """``first_start``: it makes its database itself, as everybody's first hub does."""
    if agenthub == AGENTHUB and not first_start:
        give_database(home)
    hub = Hub(home, agenthub, environ)
    try:
        yield hub
    finally:
        hub.close()


@contextmanager
def running_hub(**environ: str) -> Iterator[Hub]:
    """A hub that is up, on a home of its own, which goes with it."""
    home = tempfile.TemporaryDirectory(prefix="ah-", dir="/tmp", ignore_cleanup_errors=True)
    with home, new_hub(Path(home.name)) as hub:
        hub.up(**environ)
        yield hub
