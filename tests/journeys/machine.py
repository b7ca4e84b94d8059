"""Another machine: a home that becomes a node's, driven as its operator would."""

import os
import shlex
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from integrations.cli.client import Client

from .hub import AGENTHUB, Hub

SECONDS = 60.0


class Machine:
    """Another home, which becomes a node's."""

    def __init__(self, home: Path, launcher: tuple[str, ...] = ()) -> None:
        """``launcher`` goes before every command, such as one that enters a network namespace."""
        self.home = home
        self.agenthub = (*launcher, *AGENTHUB)
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AGENTHUB_", "DJANGO_"))},
            "AGENTHUB_HOME": str(home),
        }
        self.log = home.with_name(f"{home.name}.log")
        self._process: subprocess.Popen[bytes] | None = None

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self.agenthub, *arguments], env=self.environ, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def serve(self, *arguments: str, said: str = "") -> None:
        """Run a command that goes on; ``said`` is its standard input."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.agenthub, *arguments], env=self.environ, stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        assert self._process.stdin
        with self._process.stdin as stdin:
            stdin.write(said.encode())

    def serve_instead(self, *arguments: str, said: str = "") -> None:
        """As ``serve``, beside the command that runs, which ends by itself then."""
        former = self._process
        self.serve(*arguments, said=said)
        if former:
            former.wait(SECONDS)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(SECONDS)
            self._process = None

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None

    def close(self) -> None:
        self.stop()
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("AGENTHUB_HOME") == str(self.home):
                    process.kill()
        self.log.unlink(missing_ok=True)


def node_of(hub: Hub, name: str) -> Any:
    return next((node for node in hub.ask("node", "list") if node["slug"] == name), None)


def is_online(hub: Hub, name: str) -> bool:
    """Whether it takes runs: a busy machine's node may be degraded, and takes them."""
    node = node_of(hub, name)
    return bool(node and node["state"] in ("online", "degraded") and node["runtimes"])


def is_offline(hub: Hub, name: str) -> bool:
    node = node_of(hub, name)
    return bool(node and node["state"] == "offline")


def client_of(hub: Hub) -> Client:
    return Client.over_socket(hub.home / "hub.sock")


def command_of(hub: Hub, name: str) -> list[str]:
    """What `agenthub node token` prints to be run on the machine."""
    printed = hub.cli("node", "token", name, "--allow-project", "demo")
    assert printed.returncode == 0, printed.stderr
    words = shlex.split(printed.stdout)
    assert words[0] == "agenthub"
    return words[1:]


def workdir(machine: Machine) -> Path:
    path = machine.home / "worktrees/demo/far"
    path.mkdir(parents=True)
    return path
