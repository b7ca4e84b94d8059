"""A supervisor that is stopped from outside holds its lock and does nothing: it is found out, and its run ends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nodes.server.held import HeldRun
from nodes.server.rundir import RunDir
from tests.supervisor.conftest import Node, only, texts
from tests.support import eventually_async


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.server.held.PING_SECONDS", 0.5)
    monkeypatch.setattr("nodes.server.held.FROZEN_SECONDS", 3.0)


@asynccontextmanager
async def followed(node: Node, run: RunDir) -> AsyncIterator[HeldRun]:
    """As a node server follows it."""
    held = HeldRun(run, node.spawner, lambda _: None)
    following = asyncio.create_task(held.follow())
    try:
        yield held
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def ended_as_lost(node: Node, run: RunDir) -> None:
    await node.ended(run, timeout=90)
    assert only(node.events(run), "run.failed")["reason"] == "supervisor_lost"
    await eventually_async(lambda: node.leftovers() == [])


async def test_a_supervisor_that_freezes_is_killed_and_its_run_settled(node: Node) -> None:
    run = await node.start("sh", "-c", "echo up; exec sleep 300")
    await node.event(run, "run.output")
    async with followed(node, run) as held:
        await eventually_async(lambda: held.last_seq > 0)
        os.kill(node.supervisor_pid(run), signal.SIGSTOP)
        await ended_as_lost(node, run)
        await eventually_async(lambda: not held.is_live)


async def test_one_that_was_frozen_before_anybody_came_is_killed_too(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.server.held.PING_SECONDS", 3.0)
    run = await node.start("sh", "-c", "echo up; exec sleep 300")
    await node.event(run, "run.output")
    os.kill(node.supervisor_pid(run), signal.SIGSTOP)
    async with followed(node, run):
        await ended_as_lost(node, run)


async def test_one_with_nothing_to_say_is_left_alone(node: Node) -> None:
    run = await node.start("sh", "-c", "echo up; sleep 6; echo done")
    async with followed(node, run):
        await node.ended(run)
    assert texts(node.events(run)) == "up\ndone\n"
