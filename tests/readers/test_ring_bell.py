"""The bell, within a process, between processes, between machines, and without any of it."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Collection
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from audit.bell import Bell
from audit.carriers import Datagrams, RedisChannel
from tests.readers.relay import Relay
from tests.support import eventually_async

REDIS = "redis://127.0.0.1:6379/0"
STREAM = f"run:{uuid4()}"
OUTSIDER = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "agenthub_site.settings"
import django
django.setup()
from audit.bell import bell
bell.ring("{stream}", {number})
"""

MakeBell = Callable[..., Any]


def nothing(streams: Collection[str]) -> dict[str, int]:
    return {}


@pytest.fixture
async def make_bell() -> AsyncIterator[MakeBell]:
    """Started bells; each is as good as another process's."""
    bells: list[Bell] = []

    async def make(**options: Any) -> Bell:
        bell = Bell()
        bells.append(bell)
        await bell.start(**{"home": None, "redis_url": "", "counters": nothing, **options})
        return bell

    yield make
    for bell in bells:
        await bell.stop()


async def hear(bell: Bell, after: int = 0) -> int:
    return await bell.wait(STREAM, after, timeout=60)


def ring_outside(home: Path, number: int, **environ: str) -> None:
    """From a process that has no loop and no bell of its own, as a worker or a command is."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("AGENTHUB_")}
    code = OUTSIDER.format(stream=STREAM, number=number)
    subprocess.run([sys.executable, "-c", code], env={**env, "AGENTHUB_HOME": str(home), **environ}, check=True)


async def test_a_ring_from_another_thread_wakes_all_who_wait(make_bell: MakeBell) -> None:
    bell = await make_bell()
    waiting = [asyncio.create_task(hear(bell)) for _ in range(3)]
    await asyncio.to_thread(bell.ring, STREAM, 7)
    assert await asyncio.gather(*waiting) == [7, 7, 7]


async def test_a_ring_just_before_the_wait_is_not_missed(make_bell: MakeBell) -> None:
    bell = await make_bell()
    bell.ring(STREAM, 7)
    await eventually_async(lambda: bell.wait(STREAM, 6, timeout=0.01))
    assert await hear(bell, after=6) == 7


async def test_waiting_ends_with_the_time(make_bell: MakeBell) -> None:
    bell = await make_bell()
    bell.ring(STREAM, 5)
    assert await bell.wait(STREAM, 5, timeout=0.02) == 5


async def test_rings_of_many_threads_end_with_the_highest_number(make_bell: MakeBell) -> None:
    bell = await make_bell()
    threads = [threading.Thread(target=bell.ring, args=(STREAM, n)) for n in range(1, 101)]
    for thread in threads:
        thread.start()
    heard = 0
    while heard < 100:
        heard = await hear(bell, heard)
    assert heard == 100


async def test_a_number_that_was_wrong_is_corrected(make_bell: MakeBell) -> None:
    bell = await make_bell()
    bell.ring(STREAM, 10**12)
    assert await hear(bell) == 10**12
    bell.correct(STREAM, 4)
    bell.ring(STREAM, 5)
    assert await hear(bell, after=4) == 5


async def test_a_closed_bell_wakes_everybody(make_bell: MakeBell) -> None:
    bell = await make_bell()
    waiting = asyncio.create_task(hear(bell, after=3))
    await eventually_async(lambda: STREAM in bell._waiting)
    bell.close()
    assert await waiting == 3


async def test_a_datagram_reaches_the_other_process(make_bell: MakeBell, home: Path) -> None:
    one, other = await make_bell(home=home), await make_bell(home=home)
    waiting = asyncio.create_task(hear(other))
    one.ring(STREAM, 7)
    assert await waiting == 7
    assert {path.stat().st_mode & 0o777 for path in (home / "bell").iterdir()} == {0o600}
    assert (home / "bell").stat().st_mode & 0o777 == 0o700


async def test_a_process_without_a_bell_of_its_own_rings_as_well(make_bell: MakeBell, home: Path) -> None:
    bell = await make_bell(home=home)
    waiting = asyncio.create_task(hear(bell))
    await asyncio.to_thread(ring_outside, home, 9)
    assert await waiting == 9


async def test_a_burst_larger_than_a_sockets_queue_arrives_whole(make_bell: MakeBell, home: Path) -> None:
    one, other = await make_bell(home=home), await make_bell(home=home)
    for number in range(20_000):
        one.ring(f"run:{number % 5_000}", number)
    heard = [await other.wait(f"run:{n}", 14_999, timeout=60) for n in range(5_000)]
    assert heard == list(range(15_000, 20_000))


async def test_a_dead_processes_socket_is_cleaned_up(make_bell: MakeBell, home: Path) -> None:
    bell = await make_bell(home=home)
    dead = home / "bell" / "1-abc.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
        gone.bind(str(dead))
    bell.ring(STREAM, 1)
    await eventually_async(lambda: not dead.exists())


async def test_garbage_on_the_socket_is_ignored(make_bell: MakeBell, home: Path) -> None:
    bell = await make_bell(home=home)
    (path,) = (home / "bell").iterdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        for data in (b"\xff\xfe", b"[1]", b'{"x": "y"}', b"{" * 100_000):
            stranger.sendto(data[:60_000], str(path))
    sender = Datagrams(home / "bell")
    sender.send_now({STREAM: 8})
    sender.close()
    assert await hear(bell) == 8


async def test_a_home_with_a_long_path_has_a_bell_too(make_bell: MakeBell, home: Path) -> None:
    deep = home / ("d" * 90) / ("e" * 90)
    one, other = await make_bell(home=deep), await make_bell(home=deep)
    waiting = asyncio.create_task(hear(other))
    one.ring(STREAM, 7)
    assert await waiting == 7


async def test_redis_reaches_the_other_machine(make_bell: MakeBell) -> None:
    one, other = await make_bell(redis_url=REDIS), await make_bell(redis_url=REDIS)
    assert await ring_until_heard(one, other)


async def test_a_process_without_a_bell_reaches_other_machines(make_bell: MakeBell, home: Path) -> None:
    one, other = await make_bell(redis_url=REDIS), await make_bell(redis_url=REDIS)
    await ring_until_heard(one, other)  # it listens
    waiting = asyncio.create_task(hear(other, after=999))
    await asyncio.to_thread(ring_outside, home, 1_000, AGENTHUB_REDIS__URL=REDIS)
    assert await waiting == 1_000


async def test_redis_may_go_and_come_back(make_bell: MakeBell) -> None:
    async with Relay("127.0.0.1", 6379) as relay:
        url = f"redis://127.0.0.1:{relay.port}/0"
        one, other = await make_bell(redis_url=url), await make_bell(redis_url=url)
        heard = await ring_until_heard(one, other)
        await relay.cut()
        one.ring(STREAM, heard + 1)
        await relay.mend()
        assert await ring_until_heard(one, other, heard + 1) > heard


async def test_a_channel_closes_though_a_cancellation_was_swallowed() -> None:
    async def swallow_one() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    channel = RedisChannel("redis://127.0.0.1:1/0")
    channel.open(lambda _: None, lambda: None)
    task = asyncio.create_task(swallow_one())
    channel._tasks.append(task)
    await asyncio.sleep(0)
    await asyncio.wait_for(channel.close(), 30)
    assert task.cancelled()


async def test_without_any_bell_the_counters_are_looked_at(make_bell: MakeBell) -> None:
    numbers = {STREAM: 3}

    def counters(streams: Collection[str]) -> dict[str, int]:
        return {stream: numbers[stream] for stream in streams if stream in numbers}

    bell = await make_bell(counters=counters, poll_seconds=0.05)
    assert await hear(bell, after=2) == 3
    numbers[STREAM] = 8
    assert await hear(bell, after=3) == 8


async def ring_until_heard(one: Bell, other: Bell, after: int = 0) -> int:
    """Ring rising numbers until one is heard: before it is subscribed, a pub/sub channel keeps nothing for anybody."""
    async with asyncio.timeout(60):
        for number in count(after + 1):
            one.ring(STREAM, number)
            heard = await other.wait(STREAM, after, timeout=0.05)
            if heard > after:
                return heard
    raise AssertionError("unreachable")


async def test_a_bell_says_whether_it_can_be_heard() -> None:
    bell = Bell()
    assert bell.problem()
    await bell.start(home=None, redis_url="", counters=lambda _: {})
    assert bell.problem() == ""
    await bell.stop()
    assert bell.problem()
