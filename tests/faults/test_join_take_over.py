"""A new node server takes over from a running one, and no run notices: not its records, not its open question."""

import json
from collections.abc import Iterator

import psutil
import pytest

from tests.faults.joined import SECONDS, Pair, new_pair
from tests.journeys.machine import command_of
from tests.support import eventually

pytestmark = pytest.mark.timeout(600)
UPDATES = 400


@pytest.fixture
def pair() -> Iterator[Pair]:
    with new_pair() as pair:
        yield pair


def server(pair: Pair) -> int:
    """The process that serves the home."""
    return int((pair.machine.home / "node/lock").read_text() or 0)


def spawner(pair: Pair) -> int:
    return int((pair.machine.home / "node/spawner.lock").read_text() or 0)


def supervisors(pair: Pair) -> set[int]:
    locks = (pair.machine.home / "node/runs").glob("*/lock")
    return {json.loads(path.read_text())["pid"] for path in locks}


def take_over(pair: Pair) -> None:
    """Start another server beside the one that runs; the one that ran is gone, and was not told to us to end."""
    before = server(pair)
    pair.machine.serve_instead("node", "run", "--take-over")
    eventually(lambda: server(pair) not in (0, before), SECONDS)
    pair.until_online()


def test_runs_do_not_notice(pair: Pair) -> None:
    agent = pair.agent()
    steady = pair.follow(agent, f"@events {UPDATES} rate 10")
    asking = pair.follow(agent, "@ask shell")
    steady.comes_to(5)
    eventually(lambda: pair.hub.run_of(asking.id)["reason"] == "approval", SECONDS)
    at_work, warm = supervisors(pair), spawner(pair)
    assert len(at_work) == 2

    take_over(pair)
    assert spawner(pair) == warm  # of the same version: it is used again
    steady.comes_to(UPDATES // 4)
    pair.machine.environ["ANTHROPIC_API_KEY"] = "sk-other"  # what agents are given has changed, and so the spawner's
    take_over(pair)
    eventually(lambda: spawner(pair) not in (0, warm), SECONDS)
    assert supervisors(pair) == at_work
    assert psutil.pid_exists(warm)  # it stays with its supervisors

    assert pair.hub.run_of(asking.id)["state"] == "waiting"
    assert pair.hub.cli("approve", asking.id, "--allow").returncode == 0
    asking.ends()
    steady.ends_whole(UPDATES)
    pair.follow(agent, "Say hello").ends()  # under the new spawner
    eventually(lambda: not psutil.pid_exists(warm), SECONDS)
    assert pair.log().count("Traceback") == 0


def test_joining_as_another_node_is_refused_while_runs_are_live(pair: Pair) -> None:
    run = pair.follow(pair.agent(), f"@events {UPDATES} rate 20")
    run.comes_to(5)
    before, words = server(pair), command_of(pair.hub, "gpu-02")
    refused = pair.machine.cli(*words, "--json")
    assert refused.returncode != 0 and "home_holds_runs" in refused.stdout + refused.stderr
    assert run.id in refused.stdout + refused.stderr
    assert server(pair) == before
    run.ends_whole(UPDATES)
    eventually(lambda: pair.machine.cli(*words, "--no-start").returncode == 0, SECONDS)


def test_without_being_told_to_a_second_server_leaves_the_first_alone(pair: Pair) -> None:
    before = server(pair)
    refused = pair.machine.cli("node", "run")
    assert refused.returncode == 1 and "--take-over" in refused.stderr
    assert server(pair) == before
