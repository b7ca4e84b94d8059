"""Heartbeats and guards of a reader, on a beat of milliseconds."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async

from agents import stream
from agents.models import Run
from agents.reading import RunHead, counters
from agents.stream import Kind, Reader, tails
from audit.bell import bell
from nodes.contract.errors import NotFound
from tests.factories import make_run
from tests.readers.events import append

pytestmark = pytest.mark.django_db(transaction=True)


async def allow(head: RunHead) -> None:
    """Nobody is turned away."""


@pytest.fixture(autouse=True)
async def started_bell() -> AsyncIterator[None]:
    await bell.start(home=None, redis_url="", counters=counters)
    yield
    await bell.stop()
    bell.is_closed = False


@pytest.fixture
async def run() -> Run:
    return await sync_to_async(make_run)()


async def test_a_heartbeat_comes_with_number_and_state(run: Run) -> None:
    async with tails.watch(run.pk) as tail:
        reader = Reader(tail, 0, Kind.JSON, allow, heartbeat_seconds=0.02)
        frames = [await reader.next() for _ in range(3)]
    assert [frame.name for frame in frames if frame] == ["state", "heartbeat", "heartbeat"]
    assert frames[2] and frames[2].data == {"run": str(run.pk), "state": "running", "reason": "", "last_seq": 0}


async def test_a_heartbeat_comes_even_while_events_do(run: Run) -> None:
    async with tails.watch(run.pk) as tail:
        reader = Reader(tail, 0, Kind.SSE, allow, heartbeat_seconds=0.02)
        names: list[str] = []
        while not ("events" in names and "heartbeat" in names[names.index("events") :]):
            await sync_to_async(append)(run.pk, 1)
            frame = await reader.next()
            names.append(frame.name if frame else "")


async def test_a_reader_who_may_not_see_the_run_any_more_is_turned_away(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "GUARD_SECONDS", 0.02)

    async def refuse(head: RunHead) -> None:
        raise NotFound(project=str(head.project_id))

    async with tails.watch(run.pk) as tail:
        reader = Reader(tail, 0, Kind.JSON, refuse)
        assert (frame := await reader.next()) and frame.name == "state"
        with pytest.raises(NotFound):
            await reader.next()


async def test_a_tail_lives_as_long_as_its_readers(run: Run) -> None:
    async with tails.watch(run.pk) as tail:
        async with tails.watch(run.pk) as same:
            assert same is tail
        assert tail.readers == 1
    async with tails.watch(run.pk) as another:
        assert another is not tail
    assert tails.readers == 0


async def test_a_run_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        async with tails.watch(UUID(int=1)):
            pass


async def test_a_tail_keeps_bounded_events_and_old_ones_are_read_again(run: Run) -> None:
    async with tails.watch(run.pk) as tail:
        await sync_to_async(append)(run.pk, 3_000, 500)
        async with asyncio.timeout(60):
            while tail.last < 3_000:
                await tail.wait(1)
        reader = Reader(tail, 0, Kind.JSON, allow)
        assert tail.frame(Kind.JSON, 0) is None
        assert tail.frame(Kind.JSON, 3_000 - stream.TAIL_EVENTS) is not None
        while reader.position < 3_000:
            await reader.next()


async def test_rows_fed_out_of_order_are_read_in_order(run: Run) -> None:
    async with tails.watch(run.pk) as tail:
        reader = Reader(tail, 0, Kind.JSON, allow)
        await reader.next()
        await sync_to_async(append)(run.pk, 2, feed=False, ring=False)
        await sync_to_async(append)(run.pk, 1)
        frame = await reader.next()
    assert frame and reader.position == 3
