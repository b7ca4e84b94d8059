"""Mail in the manner of Jepsen: processes send, receive and ack, and are killed; then their histories are checked.

Nothing lost that was answered, nothing doubled, numbers dense, each sender's order kept among first deliveries,
every redelivery marked, one ack of each that changed something. ``MAIL_HISTORY_KILLS`` makes it longer.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.mail_worker import LEASE_SECONDS, RECIPIENTS
from tests.support import eventually

KILLS = int(os.environ.get("MAIL_HISTORY_KILLS", "6"))
SENT = 25
"""A process is killed once it has sent so many: at work, whatever the machine's pace."""
POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"
DATABASE = "agenthub_mail_history"

SETUP = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from agenthub_site.accounts.models import Project
print(Project.objects.create(slug="history", name="History").pk)
"""
SWEEP = """
import django, time; django.setup()
from django.utils import timezone
from mailboxes.services import sweep
while True:
    sweep(timezone.now())
    time.sleep(0.2)
"""
DUMP = """
import django, json; django.setup()
from mailboxes.models import Delivery, Inbox
rows = Delivery.objects.values_list("inbox__kind", "inbox__owner", "number", "state", "message__dedupe_key")
print(json.dumps({"deliveries": [[f"{kind}:{owner}", *rest] for kind, owner, *rest in rows],
                  "last": {str(inbox): inbox.last_number for inbox in Inbox.objects.all()}}))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def environ(request: pytest.FixtureRequest, home: Path) -> Iterator[dict[str, str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTHUB_")}
    own = {**kept, "AGENTHUB_HOME": str(home), "DJANGO_SETTINGS_MODULE": "agenthub_site.settings"}
    if request.param == "sqlite":
        yield own
        return
    psycopg = pytest.importorskip("psycopg")
    try:
        connection = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=2)
    except psycopg.OperationalError:
        pytest.skip("PostgreSQL is not there")
    with connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
        yield {**own, "AGENTHUB_DATABASE__URL": f"{POSTGRES.rpartition('/')[0]}/{DATABASE}"}
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def ask(code: str, environ: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Workers:
    """Processes with numbers; one that is killed is followed by another under the same number."""

    def __init__(self, project: str, home: Path, environ: dict[str, str]) -> None:
        self.home = home
        self._project = project
        self._environ = environ
        self._count = 0
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._logs: dict[int, Path] = {}
        for number in range(RECIPIENTS):
            self.start(number)

    def start(self, number: int) -> None:
        self._count += 1
        log = self.home / f"history-{self._count:04}"
        command = [sys.executable, "-m", "tests.faults.mail_worker", str(number), self._project, str(log)]
        self._processes[number] = subprocess.Popen(command, env=self._environ)
        self._logs[number] = log

    def sent(self, number: int) -> int:
        """How many sends of this process were answered."""
        try:
            return self._logs[number].read_bytes().count(b'"what": "sent"')
        except FileNotFoundError:
            return 0

    def kill(self, number: int, how: int = signal.SIGKILL) -> None:
        process = self._processes.pop(number)
        process.send_signal(how)
        process.wait(20)

    def kill_all(self) -> None:
        for number in list(self._processes):
            self.kill(number)

    def history(self) -> list[dict[str, Any]]:
        facts = []
        for path in sorted(self.home.glob("history-*")):
            for line in path.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    facts.append({**json.loads(line), "log": path.name})
        return sorted(facts, key=lambda fact: fact["at"])


@pytest.mark.timeout(300)
def test_killed_processes_lose_double_and_reorder_nothing(environ: dict[str, str], home: Path) -> None:
    project = ask(SETUP, environ)
    sweeper = subprocess.Popen([sys.executable, "-c", SWEEP], env=environ)
    workers = Workers(project, home, environ)
    try:
        for _ in range(KILLS):
            victim = random.randrange(RECIPIENTS)
            eventually(lambda: workers.sent(victim) >= SENT, 90)  # noqa: B023
            time.sleep(random.uniform(0, 0.2))
            workers.kill(victim)
            workers.start(victim)
        eventually(lambda: workers.sent(victim) >= SENT, 90)
        workers.kill_all()
        time.sleep(LEASE_SECONDS + 1)
    finally:
        workers.kill_all()
        sweeper.kill()
        sweeper.wait()
    history, kept = workers.history(), json.loads(ask(DUMP, environ))
    counts = Counter(fact["what"] for fact in history)
    print(f"{KILLS} kills, {dict(counts)}")
    assert counts["sent"] >= KILLS * SENT
    assert counts["acked"] > 0
    problems = check(history, kept)
    assert problems == []


def check(history: list[dict[str, Any]], kept: dict[str, Any]) -> list[str]:
    """What is wrong with a history, given what the database holds at its end."""
    stored = {(to, number): (state, key) for to, number, state, key in kept["deliveries"]}
    return [*_check_stored(stored, kept["last"]), *_check_told(history, stored), *_check_order(stored)]


Stored = dict[tuple[str, int], tuple[str, str]]


def _check_stored(stored: Stored, last: dict[str, int]) -> Iterator[str]:
    for key, times in Counter(key for _, key in stored.values()).items():
        if times > 1:
            yield f"{key} is stored {times} times"
    for to, number in last.items():
        if sorted(each for box, each in stored if box == to) != list(range(1, number + 1)):
            yield f"the numbers of {to} are not dense"


def _check_told(history: list[dict[str, Any]], stored: Stored) -> Iterator[str]:
    """What processes were answered holds: no send is lost, redeliveries are marked, one ack of each changed it."""
    changed: Counter[tuple[str, int]] = Counter()
    handed_out: Counter[tuple[str, int]] = Counter()
    highest: dict[str, int] = defaultdict(int)
    for fact in history:
        at = (fact.get("to", ""), fact.get("number", 0))
        state, key = stored.get(at, ("", ""))
        if fact["what"] == "sent" and key != fact["key"]:
            yield f"{fact['key']} was answered with {at}, and is not there"
        elif fact["what"] == "received":
            handed_out[at] += 1
            if fact["again"] == 0 and at[1] <= highest[at[0]]:
                yield f"the first delivery of {at} came after {highest[at[0]]}"
            if fact["again"] == 0:
                highest[at[0]] = at[1]
            if fact["again"] + 1 < handed_out[at]:
                yield f"{at} was handed out {handed_out[at]} times and says {fact['again']} before"
        elif fact["what"] == "acked" and fact["changed"]:
            changed[at] += 1
            if state != "acked":
                yield f"{at} was acked, and is {state or 'gone'}"
    yield from (f"{at} was acked {times} times" for at, times in changed.items() if times > 1)


def _check_order(stored: Stored) -> Iterator[str]:
    by_sender: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for (to, number), (_, key) in stored.items():
        sender, _, count = key.rpartition(":")
        by_sender[to, sender].append((number, int(count)))
    for (to, sender), pairs in by_sender.items():
        counted = [count for _, count in sorted(pairs)]
        if counted != sorted(counted):
            yield f"{to} has the mail of {sender} out of order"


def test_the_checker_finds_what_is_wrong() -> None:
    """Each kind of damage to a sound history is named."""
    sound = [
        {"what": "sent", "key": "a:1", "to": "agent:b", "number": 1},
        {"what": "sent", "key": "a:2", "to": "agent:b", "number": 2},
        {"what": "received", "to": "agent:b", "number": 1, "again": 0},
        {"what": "acked", "to": "agent:b", "number": 1, "changed": True},
    ]
    kept = {"deliveries": [["agent:b", 1, "acked", "a:1"], ["agent:b", 2, "queued", "a:2"]], "last": {"agent:b": 2}}
    assert check(sound, kept) == []
    lost = {"deliveries": [["agent:b", 1, "acked", "a:1"]], "last": {"agent:b": 2}}
    assert len(check(sound, lost)) == 2
    assert check([*sound, sound[3]], kept) == ["('agent:b', 1) was acked 2 times"]
    assert check([*sound, {**sound[2], "again": 0}], kept)
    swapped = {"deliveries": [["agent:b", 1, "acked", "a:2"], ["agent:b", 2, "queued", "a:1"]], "last": {"agent:b": 2}}
    assert any("out of order" in problem for problem in check([], swapped))
    doubled = {"deliveries": [["agent:b", 1, "acked", "a:1"], ["agent:b", 2, "queued", "a:1"]], "last": {"agent:b": 2}}
    assert any("2 times" in problem for problem in check([], doubled))
