"""Agent Ann on one node mails agent Ben on another, and their links are cut: delivered once they are back, in order,
acked once. Real processes: a hub, two nodes that joined it, and `agenthub actor` within the agents' runs.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from nodes.server.joining import HubPlace
from tests.browser.relay import Relay
from tests.faults.deployment import free_ports
from tests.faults.tunnelled import rows
from tests.journeys.hub import Hub, new_hub
from tests.journeys.machine import Machine, client_of, command_of, is_offline, is_online, workdir
from tests.support import eventually

pytestmark = pytest.mark.timeout(300)
SECONDS = 90.0
ACTOR = """
import json, os, subprocess, sys
def actor(*words):
    done = subprocess.run(["agenthub", "actor", *words, "--json"], capture_output=True, text=True)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        sys.exit(done.stdout + done.stderr)
def note(name, fact):
    with open(name, "a") as file:
        file.write(json.dumps(fact) + "\\n")
"""
ANN = (
    ACTOR
    + """
n = 0
while not os.path.exists("enough"):
    n += 1
    code, sent = actor("send", "--to", "ben", "--payload", json.dumps({"n": n}))
    note("sent", [code, sent])
    if code:
        sys.exit(1)
"""
)
BEN = (
    ACTOR
    + """
seen = set()
while not os.path.exists("last") or len(seen) < int(open("last").read()):
    code, got = actor("receive", "--wait", "2", "--limit", "3")
    for mail in got["messages"]:
        seen.add(mail["payload"]["n"])
        note("received", [mail["number"], mail["payload"]["n"], mail["redelivered"]])
        note("acked", actor("ack", "--message-id", str(mail["number"])))
"""
)


class Far:
    """A machine that joined, and the line through which it dials the hub."""

    def __init__(self, hub: Hub, root: Path, name: str, port: int) -> None:
        self.name = name
        self.line = Relay(f"http://127.0.0.1:{port}")
        self.machine = Machine(root / name)
        self.machine.home.mkdir()
        self.work = workdir(self.machine)
        self._hub = hub

    def join(self) -> None:
        assert self.machine.cli(*command_of(self._hub, self.name), "--no-start").returncode == 0
        place = HubPlace.load(self.machine.home / "node")
        assert place
        own = replace(place, addresses=(self.line.address.removeprefix("http://"),))
        own.write(self.machine.home / "node")
        self.machine.serve("node", "run")
        self.until_online()

    def until_online(self) -> None:
        eventually(lambda: is_online(self._hub, self.name), SECONDS)

    def cut(self) -> None:
        """The hub has noticed when this returns."""
        self.line.cut()
        eventually(lambda: is_offline(self._hub, self.name), SECONDS)

    def agent(self, name: str, **fields: Any) -> None:
        body = {
            "project": "demo", "name": name, "node": self.name, "workspace_mode": "use_existing",
            "workdir": str(self.work),
        }  # fmt: skip
        client_of(self._hub).post("/api/v1/agents/", {**body, **fields})

    def scripted(self, name: str, script: str) -> None:
        self.agent(name, runtime="command", preset="", command=[sys.executable, "-c", script])

    def noted(self, name: str) -> list[Any]:
        path = self.work / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def close(self) -> None:
        self.machine.close()
        self.line.close()


class Two:
    def __init__(self, hub: Hub, near: Far, far: Far) -> None:
        self.hub, self.ann, self.ben = hub, near, far


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    root = Path(tempfile.mkdtemp(prefix="ah-", dir="/tmp"))
    (root / "hub").mkdir()
    (port,) = free_ports(1)
    fars: list[Far] = []
    try:
        with new_hub(root / "hub") as hub:
            hub.up(AGENTHUB_INTERNAL_GRPC__LISTEN=f"127.0.0.1:{port}")
            for name in ("anns", "bens"):
                fars.append(Far(hub, root, name, port))
                fars[-1].join()
            yield Two(hub, *fars)
    finally:
        for far in fars:
            far.close()
        shutil.rmtree(root, ignore_errors=True)


def test_mail_comes_in_order_and_once_though_both_links_are_cut(two: Two) -> None:
    two.ann.scripted("ann", ANN)
    two.ben.scripted("ben", BEN)
    runs = [two.hub.start_run("Go", name) for name in ("ben", "ann")]

    def until(far: Far, what: str, count: int) -> None:
        eventually(lambda: len(far.noted(what)) >= count, SECONDS)

    until(two.ben, "received", 3)
    two.ben.cut()
    received, sent = len(two.ben.noted("received")), len(two.ann.noted("sent"))
    until(two.ann, "sent", sent + 3)  # the sender notices nothing
    assert len(two.ben.noted("received")) <= received + 3  # what it had in hand when the link broke
    two.ben.line.mend()
    until(two.ben, "received", sent + 3)
    two.ann.cut()
    sent = len(two.ann.noted("sent"))
    two.ann.line.mend()
    until(two.ann, "sent", sent + 2)  # what waited for the link was sent by the same call
    for line in (two.ann.line, two.ben.line) * 2:  # and again, in the midst of sends, leases and acks
        line.cut()
        line.mend()
        until(two.ben, "received", len(two.ben.noted("received")) + 2)
    (two.ann.work / "enough").touch()
    assert two.hub.follow(runs[1]).wait(SECONDS) == 0, two.hub.logs()
    answers = two.ann.noted("sent")
    (two.ben.work / "last").write_text(str(len(answers)))
    assert two.hub.follow(runs[0]).wait(SECONDS) == 0, two.hub.logs()

    assert {code for code, _ in answers} == {0}
    numbers = [answer["to"][0]["number"] for _, answer in answers]
    assert two.ben.noted("received") == [[number, n, 0] for n, number in enumerate(numbers, 1)]
    acks = two.ben.noted("acked")
    assert [(code, ack["number"], ack["status"]) for code, ack in acks] == [(0, number, "acked") for number in numbers]
    kept = rows(two.hub, "SELECT number, state, attempts FROM mailbox_delivery ORDER BY number")
    assert kept == [(number, "acked", 1) for number in numbers]
    assert rows(two.hub, "SELECT count(*) FROM mailbox_message") == [(len(numbers),)]


def test_a_live_session_behind_a_cut_link_is_told_once_it_is_back(two: Two) -> None:
    two.ben.agent("cem", runtime="acp", preset="scripted")
    run = two.hub.start_run("Say hello", "cem", "--keep-open")
    follower = two.hub.follow(run)
    eventually(lambda: two.hub.run_of(run)["reason"] == "input", SECONDS)
    two.ben.cut()
    client = client_of(two.hub)
    for text in ("The tide turns", "The wind drops"):
        client.post("/api/v1/messages", {"to": ["cem"], "project": "demo", "payload": {"text": text}})
    two.ben.line.mend()

    def told() -> list[str]:
        return [event["payload"]["text"] for event in follower.events if event["type"] == "run.turn.started"][1:]

    eventually(lambda: len(told()) >= 2, SECONDS)
    first, second = told()
    assert "The tide turns" in first
    assert "The wind drops" in second
    assert two.hub.cli("cancel", run).returncode == 0
    follower.wait()
    assert len(told()) == 2


def test_a_lease_whose_answer_was_lost_is_handed_out_again_as_the_same(two: Two) -> None:
    two.ben.scripted("dan", ACTOR + 'note("got", actor("receive", "--wait", "30"))')
    run = two.hub.start_run("Go", "dan")
    eventually(lambda: is_asking(two.ben.machine), SECONDS)
    two.ben.line.freeze()  # what the hub answers from here on does not arrive
    client_of(two.hub).post("/api/v1/messages", {"to": ["dan"], "project": "demo", "payload": "Look"})
    leased = "SELECT count(*) FROM mailbox_delivery WHERE state = 'leased' AND attempts = 1"
    eventually(lambda: rows(two.hub, leased) == [(1,)], SECONDS)
    two.ben.line.cut()
    two.ben.line.mend()
    assert two.hub.follow(run).wait(SECONDS) == 0
    ((code, got),) = two.ben.noted("got")
    assert (code, [(mail["payload"], mail["redelivered"]) for mail in got["messages"]]) == (0, [("Look", 0)])
    assert rows(two.hub, leased) == [(1,)]


def is_asking(machine: Machine) -> bool:
    """Whether an agent's `receive` has its connection to the node, and so its question is at the hub."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environ, words = process.environ(), process.cmdline()
            if "receive" in words and environ.get("AGENTHUB_ACTOR_SOCKET", "").startswith(str(machine.home)):
                return bool(process.net_connections("unix")) and process.status() == psutil.STATUS_SLEEPING
    return False
