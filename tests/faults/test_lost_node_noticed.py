"""A frozen node is noticed within 20 s, whoever dialled; a machine with no CPU to spare is no lost node."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from integrations.cli.client import Client
from tests.journeys.hub import Hub, running_hub
from tests.journeys.machine import Machine, client_of, command_of, is_online
from tests.node.parts import processes_of
from tests.support import eventually

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
NOTICED_SECONDS = 20.0
STRESS_SECONDS = 30.0
GONE = {"offline", "mismatch", "unauthorized"}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub(AGENTHUB_INTERNAL_GRPC__LISTEN="127.0.0.1:0") as hub:
        yield hub


@pytest.fixture
def machine(home: Path, hub: Hub) -> Iterator[Machine]:
    """It dials the hub, and its link has been there long enough for its latency to be known."""
    machine = Machine(home)
    machine.serve(*command_of(hub, "gpu-01"))
    eventually(lambda: is_online(hub, "gpu-01"), 60)
    yield machine
    machine.close()


def health(client: Client, node: str) -> Any:
    return client.get(f"/api/admin/agent-nodes/{node}/health")


def test_a_frozen_node_that_dials_is_noticed_in_time_and_comes_back(hub: Hub, machine: Machine) -> None:
    client = client_of(hub)
    pids = [process.pid for process in processes_of(machine.home)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: health(client, "gpu-01")["status"] in GONE, NOTICED_SECONDS)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: health(client, "gpu-01")["status"] not in GONE, 90)


def test_a_frozen_node_that_is_dialled_is_noticed_in_time_and_comes_back(hub: Hub) -> None:
    client, pid = client_of(hub), hub.child("node", "run")
    eventually(lambda: health(client, "local")["status"] not in GONE, 60)
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: health(client, "local")["status"] in GONE, NOTICED_SECONDS)
        assert "Not heard for" in health(client, "local")["reason"]
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: health(client, "local")["status"] not in GONE, 90)


def test_no_alarm_is_given_while_every_core_is_busy(hub: Hub, machine: Machine) -> None:
    client = client_of(hub)
    for node in ("local", "gpu-01"):
        eventually(lambda node=node: health(client, node)["latency_ms"]["value"] is not None, 90)  # type: ignore[misc]
    seen: set[str] = set()
    with busy_cores():
        end = time.monotonic() + STRESS_SECONDS
        while time.monotonic() < end:
            for node in ("local", "gpu-01"):
                known = health(client, node)
                seen.add(known["status"])
                assert known["latency_ms"]["level"] != "critical", known
            time.sleep(0.5)
    assert seen <= {"online", "degraded"}, seen  # a nearly full disk of the tests' machine is no false alarm


@contextmanager
def busy_cores() -> Iterator[None]:
    """A process per core that does nothing but count."""
    processes = [multiprocessing.get_context("spawn").Process(target=count) for _ in range(os.cpu_count() or 1)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def count() -> None:
    """Whoever started it kills it; if they cannot, it ends by itself."""
    end = time.monotonic() + 4 * STRESS_SECONDS
    while time.monotonic() < end:
        pass
