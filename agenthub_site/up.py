"""``agenthub up``: the whole hub on one machine, by one command.

A small parent, standard library only, that keeps three children alive: the hub (web
and control plane), the worker and the local node. A lock on the home keeps a second
parent out; another, inherited by the children, makes a new parent wait for the
children of one that was killed. Runs are not among the children: they live under
supervisors of their own, and the next ``up`` takes them back.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from agenthub_site.children import Child
from agenthub_site.homelock import HomeTaken, hold_home, live_runs, wait_for_children
from agenthub_site.listening import REMEDY, BadListen, choose_address
from agenthub_site.summary import say, summarize, tell_failure, warn
from integrations.cli.client import Client, HubRefused, HubUnreachable
from integrations.cli.exits import Exit
from integrations.cli.parsers import Parser
from integrations.cli.where import Where, url_of
from nodes.contract.errors import ConfigError, HubError

PREPARE_SECONDS = 3600.0
"""A migration of a large database takes its time; this only bounds a hang."""
READY_SECONDS = 180.0
SLOW_SECONDS = 20.0
STOP_SECONDS = 9.5
"""For all children together; each but the last has its own share, and the hub what is left."""
STOP_SHARES = {"worker": 2.5, "node": 2.5, "hub": STOP_SECONDS}
STOP_RUNS_SECONDS = 20.0
START_ATTEMPTS = 3
CRASH_LOOP = 5
"""So many deaths in a row are worth another word."""
NOT_FOR_CHILDREN = ("AGENTHUB_ADMIN_PASSWORD", "AGENTHUB_TOKEN", "AGENTHUB_URL")

DESCRIPTION = """\
Start the hub, its worker and the local node, and keep them running until Ctrl-C.

The first start makes the database, certificates and the operator `root` in the home
(AGENTHUB_HOME, default ~/.agenthub). The password comes from AGENTHUB_ADMIN_PASSWORD, or is
generated and printed once. Runs outlive the hub: the next `up` takes them back."""


EXAMPLES = """\
examples:
  agenthub up
  AGENTHUB_SERVER__LISTEN=127.0.0.1:0 agenthub up --json
  AGENTHUB_HOME=~/second agenthub up --no-demo"""


class StartFailed(HubError):
    """A part did not come up; what it said has been shown, or is the message."""

    code = "not_started"

    def __init__(self, exit_code: Exit, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Parent:
    def __init__(self, where: Where, options: argparse.Namespace, address: str, lock: int) -> None:
        self.where = where
        self.options = options
        self.address = address
        self.logs = where.home / "logs"
        self.client = Client.over_socket(where.socket, timeout=2.0)
        self._environ = {
            **{key: value for key, value in os.environ.items() if key not in NOT_FOR_CHILDREN},
            "AGENTHUB_HOME": str(where.home),
            "AGENTHUB_SERVER__LISTEN": address,
            "PYTHONUNBUFFERED": "1",
        }
        self._lock = lock
        self.hub = self._child("hub", "web")
        self.node = self._child("node", "node", "run", "--take-over")
        self.worker = self._child("worker", "worker")
        self._signals = 0
        self._woken, waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # wakes the wait below
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants us to stay
            signal.signal(signal.SIGHUP, self._on_signal)

    def _child(self, name: str, *arguments: str) -> Child:
        return Child(name, arguments, self._environ, self.logs, self._lock, echo=self.options.verbose)

    @property
    def children(self) -> tuple[Child, ...]:
        return (self.hub, self.node, self.worker)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:  # asked twice: no more patience
            for child in self.children:
                child.signal(signal.SIGKILL)

    # Starting.

    def run(self) -> Exit:
        """Start everything, keep it alive, stop it on a signal."""
        try:
            is_first = not (self.where.home / "secret_key").exists()
            self._tell("Preparing the home for the first time …" if is_first else "Preparing the home …")
            prepared = self._prepare()
            if prepared is None:
                return Exit.INTERRUPTED
            self._tell("Starting the hub, its worker and the local node …")
            self.hub.start()
            self.node.start()
            missing = self._wait_until_ready()
            if not self._signals:
                summarize(self.where, self.address, prepared, as_json=self.options.json)
                for part in missing:
                    warn(f"{part} is not ready yet; see {self.logs}")
                self.worker.start()
        except StartFailed as error:
            self._stop_children()
            tell_failure(error, as_json=self.options.json)
            return error.exit_code
        while not self._signals:
            self._turn(1.0)
        return self._stop()

    def _tell(self, step: str) -> None:
        """What takes a while is said beforehand, to people."""
        if not self.options.json:
            say(step)

    def _prepare(self) -> dict[str, Any] | None:
        """Run ``agenthub prepare`` to its end; None if a signal came first."""
        arguments = ["prepare", "--json", *([] if self.options.no_demo else ["--demo"])]
        environ = dict(self._environ)
        if "AGENTHUB_ADMIN_PASSWORD" in os.environ:
            environ["AGENTHUB_ADMIN_PASSWORD"] = os.environ["AGENTHUB_ADMIN_PASSWORD"]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "agenthub_site.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**environ, "AGENTHUB_UP": f"{os.getpid()}:{self._lock}"},
            pass_fds=(self._lock,),
            start_new_session=True,
        )
        deadline = time.monotonic() + PREPARE_SECONDS
        while True:
            try:
                answer, _ = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if self._signals or time.monotonic() > deadline:
                    process.terminate()
        if self._signals:
            return None
        if process.returncode:
            code = Exit.USAGE if process.returncode == Exit.USAGE else Exit.FAILED
            raise StartFailed(code, _reason(answer) or "AgentHub did not start. What went wrong stands above.")
        prepared: dict[str, Any] = json.loads(answer)
        return prepared

    def _wait_until_ready(self) -> list[str]:
        """Wait until the hub says that it is ready; returns what it still misses if that takes too long."""
        started = time.monotonic()
        while not self._signals:
            self._turn(0.1)
            waited = time.monotonic() - started
            try:
                answer = self.client.get("/readyz")
            except HubRefused as error:  # it answers, and names what it waits for
                if waited > SLOW_SECONDS:
                    return list(error.body.get("not_ready") or ["hub"])
                continue
            except HubUnreachable:
                if waited > READY_SECONDS:
                    raise StartFailed(Exit.FAILED, f"The hub does not answer; see {self.hub.log.path}.") from None
                continue
            return [] if answer else ["hub"]
        return []

    # Keeping alive.

    def _turn(self, seconds: float) -> None:
        """Wait for something to happen, at most so long; log what was said, restart what died."""
        now = time.monotonic()
        if not self._signals:
            seconds = max(0.0, min([seconds, *(child.restart_at - now for child in self.children)]))
        pipes = [child.pipe for child in self.children if child.pipe is not None]
        with suppress(InterruptedError):
            select.select([self._woken, *pipes], [], [], seconds)
        with suppress(BlockingIOError):
            os.read(self._woken, 4096)
        for child in self.children:
            child.pump()
            status = child.reap()
            if status is not None and not self._signals:
                self._on_death(child, status)
            elif time.monotonic() >= child.restart_at and not self._signals:
                child.start()

    def _on_death(self, child: Child, status: int) -> None:
        why = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        starting = child is self.hub and self.worker.process is None and self.worker.deaths == 0
        if child.deaths == 1 or starting:
            warn(f"The {child.name} {why}. It is started again." if not starting else f"The {child.name} {why}.")
            if child.tail and not self.options.verbose and status not in (-signal.SIGKILL, -signal.SIGTERM):
                say("\n".join(f"  {line}" for line in child.tail))
        elif child.deaths == CRASH_LOOP:
            warn(f"The {child.name} {why}, for the {CRASH_LOOP}th time in a row. What it said is in {child.log.path}.")
        if starting and (status == Exit.USAGE or child.deaths >= START_ATTEMPTS):
            raise StartFailed(
                Exit.USAGE if status == Exit.USAGE else Exit.FAILED,
                f"AgentHub did not start. All that the {child.name} said is in {child.log.path}.",
            )

    # Stopping.

    def _stop(self) -> Exit:
        if self.options.stop_runs:
            self._end_runs()
        say("Stopping …")
        self._stop_children()
        left = live_runs(self.where.home / "node")
        if left:
            runs = "1 run goes" if len(left) == 1 else f"{len(left)} runs go"
            say(f"{runs} on without the hub; the next `agenthub up` takes them back.")
            say("To end them, start it again and use `agenthub cancel RUN`, or stop it as `agenthub up --stop-runs`.")
        say("Stopped.")
        return Exit.OK

    def _stop_children(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        for child in (self.worker, self.node, self.hub):
            child.stop(min(STOP_SHARES[child.name], deadline - time.monotonic()))

    def _end_runs(self) -> None:
        """Cancel every run that is not over, and wait (bounded) until their processes are gone."""
        say("Ending the runs under way …")
        deadline = time.monotonic() + STOP_RUNS_SECONDS
        with suppress(HubRefused, HubUnreachable):
            for run in self.client.every("/api/v1/runs/", live="true"):
                with suppress(HubRefused):
                    self.client.post(f"/api/v1/runs/{run['id']}/cancel/")
        while live_runs(self.where.home / "node") and time.monotonic() < deadline and self._signals < 2:
            self._turn(0.2)


def _reason(answer: bytes) -> str:
    """What ``prepare --json`` refused, in its own words; empty if it fell over."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(answer)["error"]["message"])
    return ""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("agenthub up", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--json", action="store_true", help="print one JSON object when ready")
    parser.add_argument("--no-demo", action="store_true", help="make no demo project")
    parser.add_argument("--stop-runs", action="store_true", help="when stopping, end the runs under way as well")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the logs of all parts here")
    return parser.parse_args(arguments)


def _choose_address(where: Where, remedy: str) -> str:
    """As ``choose_address``; but settings that cannot be read are told before an address that cannot be listened on."""
    try:
        return choose_address(where, remedy)
    except BadListen:
        from nodes.contract.config import load_config  # not in a parent that lives: it is large

        load_config()
        raise


def main(arguments: Sequence[str], where: Where, *, remedy: str = REMEDY) -> int:
    """Serve until a signal. ``remedy``: what to do where the address is taken."""
    options = parse(arguments)
    try:
        with hold_home(where.home) as home:
            address = _choose_address(where, remedy)
            home.tell(pid=os.getpid(), address=url_of(where, address))
            lock = wait_for_children(where.home, on_wait=lambda: say("Waiting for the last hub's processes to end …"))
            if os.geteuid() == 0:
                warn("This runs as root: every agent may do whatever root may. Use an account of its own.")
            return Parent(where, options, address, lock).run()
    except (HomeTaken, ConfigError) as error:
        return tell_failure(error, as_json=options.json)
