"""The bell: "stream X has reached number N". It carries numbers and never data; lose it, and nothing is lost.

``ring`` may be called from any thread of any process. It wakes who waits in this
process, and reaches other processes by datagram and Redis (``audit.carriers``). Beside
it, the counters of the streams that somebody waits for are polled slowly.
"""

import asyncio
import contextlib
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog
from django.conf import settings
from django.db import transaction

from audit.carriers import Datagrams, RedisChannel, publish_once

logger = structlog.get_logger(__name__)

POLL_SECONDS: Final = 2.0
"""How often the counters of watched streams are looked at, whatever the bell says."""
KNOWN_STREAMS: Final = 20_000
"""Streams whose latest number is remembered, so that a ring just before a wait is not missed."""

Counters = Callable[[Collection[str]], Mapping[str, int]]
"""The present numbers of streams, from the database; called in a thread, and may leave out what it does not know."""


class Bell:
    """One per process. Before ``start`` (a command, a worker) it can ring, but nobody can wait for it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._rung: dict[str, int] = {}
        self._is_scheduled = False
        self._known: OrderedDict[str, int] = OrderedDict()
        self._waiting: dict[str, set[asyncio.Future[int]]] = {}
        self._datagrams: Datagrams | None = None
        self._redis: RedisChannel | None = None
        self._poller: asyncio.Task[None] | None = None
        self._poll_soon = asyncio.Event()
        self.is_closed = False

    async def start(
        self, *, home: Path | None, redis_url: str, counters: Counters, poll_seconds: float = POLL_SECONDS
    ) -> None:
        """Begin to hear others, on the running loop. Without ``home`` or ``redis_url`` that carrier stays silent."""
        self._loop = asyncio.get_running_loop()
        self._poll_soon = asyncio.Event()
        self.is_closed = False
        if home:
            self._datagrams = Datagrams(home / "bell")
            try:
                self._datagrams.open(self._loop, self._hear)
            except OSError as error:
                logger.warning("bell.datagrams_unavailable", error=str(error), directory=str(home / "bell"))
                self._datagrams = None
        if redis_url:
            self._redis = RedisChannel(redis_url)
            self._redis.open(self._hear, self._poll_soon.set)
        self._poller = asyncio.create_task(self._poll(counters, poll_seconds), name="bell-poll")

    def problem(self) -> str:
        """Why this process hears no bell, for ``/readyz``; empty if it does."""
        is_polling = self._poller is not None and not self._poller.done()
        return "" if is_polling and not self.is_closed else "The bell is not running: readers would not be woken."

    def close(self) -> None:
        """Wake everybody who waits, for the last time: ``wait`` returns at once from now on."""
        self.is_closed = True
        for futures in list(self._waiting.values()):
            for future in futures:
                if not future.done():
                    future.set_result(0)

    async def stop(self) -> None:
        """``close``, and stop to hear others. Rings go on reaching other processes."""
        self.close()
        self._loop = None
        if self._poller:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
            self._poller = None
        if self._redis:
            await self._redis.close()
            self._redis = None
        if self._datagrams:
            self._datagrams.close()
            self._datagrams = None
        self._known.clear()

    def ring(self, stream: str, number: int) -> None:
        """``stream`` has reached ``number``, committed. From any thread; cheap, and bursts become one wake-up."""
        with self._lock:
            loop = self._loop
            if loop:
                if number > self._rung.get(stream, -1):
                    self._rung[stream] = number
                if self._is_scheduled:
                    return
                self._is_scheduled = True
        if loop:
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile: this process is at its end
                loop.call_soon_threadsafe(self._flush)
        else:
            _ring_outside({stream: number})

    def poke(self, stream: str) -> int:
        """Ring a stream that has no numbers of its own; the number is the time in microseconds."""
        number = time.time_ns() // 1000
        self.ring(stream, number)
        return number

    async def wait(self, stream: str, after: int, timeout: float) -> int:
        """The number of ``stream`` once it is above ``after``; ``after`` itself if ``timeout`` seconds pass first.

        Returns at once when a higher number was heard before, and when the bell is closed.
        """
        known = self._known.get(stream, -1)
        if known > after:
            return known
        if self.is_closed:
            return after
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(stream, set())
        waiting.add(future)
        try:
            async with asyncio.timeout(timeout):
                while (number := await future) <= after and not self.is_closed:
                    waiting.discard(future)
                    future = asyncio.get_running_loop().create_future()
                    waiting.add(future)
            return max(number, after)
        except TimeoutError:
            return after
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(stream) is waiting:
                del self._waiting[stream]

    def correct(self, stream: str, number: int) -> None:
        """The database says ``number``: forget a higher one that was heard (a backup restored, a stranger's ring)."""
        if self._known.get(stream, -1) > number:
            self._known[stream] = number

    def _flush(self) -> None:
        """On the loop: tell this process, then the others."""
        with self._lock:
            rung, self._rung = self._rung, {}
            self._is_scheduled = False
        self._hear(rung)
        if self._datagrams:
            self._datagrams.send(rung)
        if self._redis:
            self._redis.send(rung)

    def _hear(self, numbers: Mapping[str, int]) -> None:
        for stream, number in numbers.items():
            if number <= self._known.get(stream, -1):
                continue
            self._known[stream] = number
            self._known.move_to_end(stream)
            for future in self._waiting.get(stream, ()):
                if not future.done():
                    future.set_result(number)
        while len(self._known) > KNOWN_STREAMS:
            self._known.popitem(last=False)

    async def _poll(self, counters: Counters, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, "bell-poll")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds * random.uniform(0.8, 1.2)):  # noqa: S311
                        await self._poll_soon.wait()
                self._poll_soon.clear()
                if not self._waiting:
                    continue
                try:
                    self._hear(await loop.run_in_executor(thread, counters, list(self._waiting)))
                except Exception:
                    logger.exception("bell.poll_failed")
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


def _ring_outside(numbers: Mapping[str, int]) -> None:
    """From a process whose own bell is not started."""
    datagrams = Datagrams(settings.CONFIG.home / "bell")
    try:
        datagrams.send_now(numbers)
    finally:
        datagrams.close()
    if settings.CONFIG.redis.url:
        publish_once(settings.CONFIG.redis.url, numbers)


bell = Bell()
"""This process's bell."""


def ring_on_commit(stream: str, number: int) -> None:
    """Ring when the transaction at hand commits; at once if there is none."""
    transaction.on_commit(lambda: bell.ring(stream, number))
