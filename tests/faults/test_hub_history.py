"""In the manner of Jepsen: hubs are killed and lines cut while agents write and lock; then their histories are checked.

Mail as in ``test_mail_history``. Locks: each number is given once, a later one is greater, no two hold at a time, and
nobody gives back what another took since. ``HUB_HISTORY_FAULTS`` makes it longer.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.browser.relay import Relay
from tests.support import eventually

from .hub_clients import LEASE_SECONDS, Agent, History
from .hubs import Hubs, new_hubs
from .test_mail_history import DUMP, check

FAULTS = int(os.environ.get("HUB_HISTORY_FAULTS", "6"))
ANSWERS = {("sent", "received", "acked"): 200, ("locked",): 4}
"""So many come between one fault and the next, at whatever pace the machine has."""
AGENTS = ["ada", "wim", "zoe", "kim"]
SECONDS = 120.0
LOCKS = """
import django, json; django.setup()
from agents.coordination.models import Lock
print(json.dumps(dict(Lock.objects.values_list("key", "fencing_number"))))
"""
Facts = list[dict[str, Any]]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_hubs_and_cut_lines_lose_double_and_reorder_nothing(kind: str, home: Path) -> None:
    history = History()
    with new_hubs(home, kind) as hubs:
        hubs.prepare(AGENTS)
        lines = [Relay(url) for url in hubs.urls]
        agents = [
            Agent(name, [*{*AGENTS} - {name}], lines[n % len(lines)].address, hubs.tokens[name], history)
            for n, name in enumerate(AGENTS)
        ]
        try:
            for fault in range(FAULTS):
                until_at_work(history)
                strike(hubs, lines, fault)
            until_at_work(history)
        finally:
            for agent in agents:
                agent.stop()
            for line in lines:
                line.close()
        time.sleep(LEASE_SECONDS)
        hubs.stop()
        kept, numbers = (json.loads(ask(code, hubs)) for code in (DUMP, LOCKS))
    facts = sorted(history.facts, key=lambda fact: fact["at"])
    counts = Counter(fact["what"] for fact in facts)
    print(f"{kind}: {FAULTS} faults, {dict(counts)}")
    assert min(counts[what] for what in ("sent", "received", "acked", "locked", "released", "unknown")) > 0
    assert [*check(facts, kept), *check_locks(facts, numbers)] == []


def until_at_work(history: History) -> None:
    for what, answers in ANSWERS.items():
        wanted = history.count(*what) + answers
        eventually(lambda what=what, wanted=wanted: history.count(*what) >= wanted, SECONDS)  # type: ignore[misc]


def strike(hubs: Hubs, lines: list[Relay], fault: int) -> None:
    """By turns: a hub is killed and begins again, a line is cut, a line passes nothing on for a while."""
    victim = random.randrange(len(lines))
    if fault % 2 == 0:
        hubs.kill(victim)
        hubs.start(victim)
    elif fault % 4 == 1:
        lines[victim].cut()
        time.sleep(0.5)
        lines[victim].mend()
    else:
        lines[victim].freeze()
        time.sleep(0.5)
        lines[victim].cut()  # what was under way arrives at one end only
        lines[victim].mend()


def ask(code: str, hubs: Hubs) -> str:
    environ = hubs.environ() | {"DJANGO_SETTINGS_MODULE": "agenthub_site.settings"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def check_locks(facts: Facts, kept: dict[str, int]) -> list[str]:
    """What is wrong with the locks of a history, given the last number of each in the database.

    One that is free may be removed from it: the greatest of all is then no smaller than its own.
    """
    greatest = max(kept.values(), default=0)
    return [
        problem
        for key in sorted({fact["key"] for fact in facts if fact["what"] == "locked"})
        for problem in _check_lock([fact for fact in facts if fact.get("key") == key], key, kept.get(key, greatest))
    ]


def _check_lock(facts: Facts, key: str, last: int) -> Iterator[str]:
    taken = sorted((fact for fact in facts if fact["what"] == "locked"), key=lambda fact: fact["number"])
    ends = {fact["number"]: fact["ends"] for fact in taken}
    for fact in facts:
        if fact["what"] == "releasing":  # from then on it may be free
            ends[fact["number"]] = min(ends[fact["number"]], fact["asked"])
    for number, times in Counter(fact["number"] for fact in taken).items():
        if times > 1:
            yield f"{key}: the number {number} was given {times} times"
    for before, after in pairwise(taken):
        if after["answered"] < before["asked"]:
            yield f"{key}: {after['number']} was given before {before['number']}"
        if before["number"] != after["number"] and after["answered"] < ends[before["number"]]:
            yield f"{key}: {before['number']} was valid when {after['number']} was given"
    if taken and taken[-1]["number"] > last:
        yield f"{key}: {taken[-1]['number']} was answered, and the last is {last}"
    for fact in facts:
        if fact["what"] == "released" and fact["is_done"]:
            later = [each for each in taken if each["number"] > fact["number"] and each["answered"] < fact["asked"]]
            if later and later[-1]["by"] != fact["by"]:
                yield f"{key}: {fact['number']} was given back when {later[-1]['number']} held"


def test_the_checker_finds_what_is_wrong_with_locks() -> None:
    """Each kind of damage to a sound history is named."""

    def took(number: int, asked: float, by: str = "ada") -> dict[str, Any]:
        told = {"key": "main", "by": by, "number": number, "asked": asked, "answered": asked + 0.1, "ends": asked + 1}
        return {"what": "locked", **told}

    def gave(number: int, asked: float) -> Facts:
        told = {"key": "main", "by": "ada", "number": number, "asked": asked, "is_done": True}
        return [{"what": "releasing", **told}, {"what": "released", **told}]

    sound = [took(1, 0.0), *gave(1, 0.5), took(2, 0.6, "wim"), took(3, 2.0, "wim")]
    assert check_locks(sound, {"main": 3}) == []
    assert check_locks(sound, {"main": 2}) == ["main: 3 was answered, and the last is 2"]
    assert check_locks([took(1, 0.0), took(1, 2.0)], {"main": 1}) == ["main: the number 1 was given 2 times"]
    assert check_locks([took(2, 0.0), took(1, 2.0)], {"main": 2})[0] == "main: 2 was given before 1"
    assert check_locks([took(1, 0.0), took(2, 0.5)], {"main": 2}) == ["main: 1 was valid when 2 was given"]
    late = [took(1, 0.0), took(2, 1.5, "wim"), *gave(1, 1.8)]
    assert check_locks(late, {"main": 2}) == ["main: 1 was given back when 2 held"]
