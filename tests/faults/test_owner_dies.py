"""Two control planes on one PostgreSQL. The owner of two nodes' links is killed, or stopped past its lease and woken.

One node is dialled, one dials. What readers saw is what the database has and what the agents wrote; each command
reached its node once; and an owner of the past changes nothing.
"""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.deployment import Deployment, Plane, new_deployment
from tests.faults.followed import Followed
from tests.support import eventually

pytestmark = pytest.mark.timeout(400)
UPDATES = 600
LONG = f"@events {UPDATES} rate 15"
"""Forty seconds of work."""
SECONDS = 120.0


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with new_deployment() as deployment:
        yield deployment


@pytest.fixture
def agents(deployment: Deployment) -> list[str]:
    """One on a node that is dialled, one on a node that dials, whose links the first control plane owns."""
    first, second = deployment.planes
    first.start()
    agents = [deployment.add_dialled("oslo"), deployment.add_tunnel("lima")]
    deployment.until_online()
    deployment.until_owned(first)
    second.start()
    return agents


def answered(deployment: Deployment) -> Counter[str]:
    """How often each command came to the nodes, by their own logs."""
    lines = [line for machine in deployment.machines.values() for line in machine.log.read_text().splitlines()]
    said = [json.loads(line) for line in lines if line.startswith("{") and "command.answered" in line]
    return Counter(line["command"] for line in said)


def commands(deployment: Deployment) -> set[str]:
    return {str(id_) for (id_,) in deployment.rows("SELECT id FROM nodes_command")}


def each_command_came_once(deployment: Deployment) -> None:
    eventually(lambda: deployment.value("SELECT count(*) FROM nodes_command WHERE state = 'pending'") == "0", SECONDS)
    assert answered(deployment) == Counter(dict.fromkeys(commands(deployment), 1))


def test_killing_the_owner_costs_nothing(deployment: Deployment, agents: list[str]) -> None:
    first, second = deployment.planes
    runs = [Followed(deployment.hub, deployment.events, agent, LONG) for agent in agents]
    kept = [Followed(deployment.hub, deployment.events, agent, "@say one", "--keep-open") for agent in agents]
    for run in runs:
        run.comes_to(20)
    for run in kept:
        run.waits_for_input()
    eventually(lambda: deployment.value("SELECT count(*) FROM nodes_command WHERE state = 'pending'") == "0", SECONDS)

    first.kill()
    for run in kept:
        assert deployment.hub.cli("input", run.id, "@say two").returncode == 0
    deployment.until_owned(second)
    for run in runs:
        run.ends_whole(UPDATES)
    for run in kept:
        eventually(lambda run=run: run.said() == ["one", "two"], SECONDS)  # type: ignore[misc]
        assert deployment.hub.cli("cancel", run.id).returncode == 0
        run.ends(5)
    each_command_came_once(deployment)


def stop_within_a_commit(deployment: Deployment, plane: Plane) -> None:
    """Stop the process when it has inserted events and not committed them: it holds the locks on lease and run."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name = %s "
        "AND query ~ 'agents_runevent|UPDATE agents_run SET last_seq'"
    )
    for _ in range(5_000):
        plane.send(signal.SIGSTOP)
        if deployment.value(query, plane.name) != "0":
            return
        plane.send(signal.SIGCONT)
    raise AssertionError("it was never found within a commit")


def test_an_owner_that_was_stopped_past_its_lease_changes_nothing_when_it_wakes(
    deployment: Deployment, agents: list[str]
) -> None:
    first, second = deployment.planes
    runs = [Followed(deployment.hub, deployment.events, agent, LONG) for agent in agents]
    kept = [Followed(deployment.hub, deployment.events, agent, "@say one", "--keep-open") for agent in agents]
    for run in runs:
        run.comes_to(20)
    for run in kept:
        run.waits_for_input()
    epochs: dict[Any, int] = dict(deployment.rows("SELECT node_id, epoch FROM nodes_linklease"))

    stop_within_a_commit(deployment, first)
    for run in kept:
        assert deployment.hub.cli("input", run.id, "@say two").returncode == 0
    deployment.until_owned(second)
    for run in kept:
        eventually(lambda run=run: run.said() == ["one", "two"], SECONDS)  # type: ignore[misc]
    said = len(first.said())
    first.send(signal.SIGCONT)
    eventually(lambda: "ingest.lease_lost" in first.said()[said:], SECONDS)
    for run in kept:
        assert deployment.hub.cli("cancel", run.id).returncode == 0
    for run in runs:
        run.ends_whole(UPDATES)
    for run in kept:
        run.ends(5)
    each_command_came_once(deployment)
    later: dict[Any, int] = dict(deployment.rows("SELECT node_id, epoch FROM nodes_linklease"))
    assert all(later[node] > epoch for node, epoch in epochs.items())
    deployment.until_owned(second)
