"""What carries a ring of the bell out of this process: datagrams on one machine, Redis between machines.

Both carry batches of (stream, number), both may lose some, and nobody depends on them:
readers poll beside them, and read from the database.
"""

import asyncio
import contextlib
import errno
import json
import os
import random
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import redis
import redis.asyncio
import structlog
from redis.exceptions import RedisError

logger = structlog.get_logger(__name__)

CHANNEL: Final = "agenthub:bell"
DATAGRAM_STREAMS: Final = 400
"""Streams in one datagram: with names of 44 characters, about 27 KB."""
DATAGRAM_BYTES: Final = 64 * 1024
BACKLOG_STREAMS: Final = 10_000
"""Rings that wait for a carrier at most; beyond, they are left to the poll."""
PACE_SECONDS: Final = 0.002
"""At least this long between two batches: a burst is one batch, and the first ring of it goes at once."""
RETRY_SECONDS: Final = 0.02
RECONNECT_SECONDS: Final = (0.2, 5.0)

Numbers = Mapping[str, int]
Heard = Callable[[dict[str, int]], None]


def batches(numbers: Numbers) -> Iterator[tuple[Numbers, bytes]]:
    """``numbers`` in parts, each with the JSON object that fits a datagram."""
    items = list(numbers.items())
    for start in range(0, len(items), DATAGRAM_STREAMS):
        part = dict(items[start : start + DATAGRAM_STREAMS])
        yield part, json.dumps(part).encode()


def parse(data: bytes | str) -> dict[str, int]:
    """What a peer sent; what does not fit is left out, since a ring is never worth an error."""
    try:
        numbers = json.loads(data)
    except ValueError:
        return {}
    if not isinstance(numbers, dict):
        return {}
    return {name: number for name, number in numbers.items() if type(number) is int}


def merge(into: dict[str, int], numbers: Numbers) -> None:
    """Keep the highest number of each stream, and not more streams than ``BACKLOG_STREAMS``."""
    for name, number in numbers.items():
        if number > into.get(name, -1) and (name in into or len(into) < BACKLOG_STREAMS):
            into[name] = number


class Datagrams:
    """A Unix datagram socket per process in ``directory`` (0700); a ring is sent to all others found there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._name = f"{os.getpid()}-{secrets.token_hex(3)}.sock"
        self._directory_fd = -1
        self._sender: socket.socket | None = None
        self._receiver: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._last_sent = 0.0

    def open(self, loop: asyncio.AbstractEventLoop, heard: Heard) -> None:
        """Begin to listen, on ``loop``. Raises ``OSError`` if the directory cannot be used."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
        try:
            receiver.bind(self._address(self._name))
            (self.directory / self._name).chmod(0o600)
        except OSError:
            receiver.close()
            raise
        self._receiver, self._loop = receiver, loop
        loop.add_reader(receiver, self._receive, receiver, heard)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._receiver and self._loop:
            self._loop.remove_reader(self._receiver)
            self._receiver.close()
            self._receiver = None
            with contextlib.suppress(FileNotFoundError):
                (self.directory / self._name).unlink()
        self._loop = None
        if self._sender:
            self._sender.close()
            self._sender = None
        if self._directory_fd >= 0:
            os.close(self._directory_fd)
            self._directory_fd = -1

    def send(self, numbers: Numbers) -> None:
        """Called on the loop: the first ring of a burst goes at once, what follows is collected."""
        merge(self._pending, numbers)
        if self._timer or not self._loop:
            return
        wait = self._last_sent + PACE_SECONDS - self._loop.time()
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._flush)
        else:
            self._flush()

    def send_now(self, numbers: Numbers) -> dict[str, int]:
        """Called from any thread, in a process without a loop of its own. What a peer missed, its queue being full."""
        missed: dict[str, int] = {}
        for name in self._peers():
            for part, batch in batches(numbers):
                if not self._send_to(name, batch):
                    missed.update(part)
        return missed

    def _flush(self) -> None:
        self._timer = None
        if not self._loop:
            return
        numbers, self._pending = self._pending, {}
        self._last_sent = self._loop.time()
        missed = self.send_now(numbers)
        if missed:  # sent again to all: hearing it twice is harmless
            merge(self._pending, missed)
            self._timer = self._loop.call_later(RETRY_SECONDS, self._flush)

    def _send_to(self, name: str, batch: bytes) -> bool:
        if self._sender is None:
            self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._sender.setblocking(False)
        try:
            self._sender.sendto(batch, self._address(name))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS):
                return False
            if error.errno == errno.ECONNREFUSED:  # its process is gone; names are never used twice
                with contextlib.suppress(OSError):
                    (self.directory / name).unlink()
        return True

    def _peers(self) -> list[str]:
        try:
            with os.scandir(self.directory) as entries:
                return [e.name for e in entries if e.name.endswith(".sock") and e.name != self._name]
        except OSError:  # no directory: no process listens
            return []

    def _address(self, name: str) -> str:
        """The socket's path: through a descriptor where the home's is longer than a socket's address may be."""
        path = str(self.directory / name)
        if len(path.encode()) <= 100 or not Path("/proc/self/fd").is_dir():
            return path
        if self._directory_fd < 0:
            self._directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._directory_fd}/{name}"

    def _receive(self, receiver: socket.socket, heard: Heard) -> None:
        """Empty the socket (its queue is ten datagrams long), but not for ever."""
        numbers: dict[str, int] = {}
        for _ in range(100):
            try:
                data = receiver.recv(DATAGRAM_BYTES)
            except OSError:
                break
            merge(numbers, parse(data))
        if numbers:
            heard(numbers)


CLOSE_TRIES: Final = 5
"""Seconds that closing takes at most, and cancellations that it sends."""


class RedisChannel:
    """One pub/sub channel for all machines. Reconnects by itself; while it is down only latency suffers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: redis.asyncio.Redis | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._pending: dict[str, int] = {}
        self._has_news = asyncio.Event()

    def open(self, heard: Heard, reconnected: Callable[[], None]) -> None:
        """Begin to listen and to publish; ``reconnected`` is called when rings may have been missed."""
        self._client = redis.asyncio.Redis.from_url(
            self._url, socket_connect_timeout=2, socket_timeout=5, health_check_interval=10
        )
        self._tasks = [
            asyncio.create_task(self._listen(self._client, heard, reconnected), name="bell-redis-listen"),
            asyncio.create_task(self._publish(self._client), name="bell-redis-publish"),
        ]

    async def close(self) -> None:
        for _ in range(CLOSE_TRIES):  # the client may take a cancellation for a time-out of its own, and go on
            if not self._tasks:
                break
            for task in self._tasks:
                task.cancel()
            _, pending = await asyncio.wait(self._tasks, timeout=1)
            self._tasks = list(pending)
        if self._client:
            with contextlib.suppress(RedisError, OSError):
                await self._client.aclose()
            self._client = None

    def send(self, numbers: Numbers) -> None:
        merge(self._pending, numbers)
        self._has_news.set()

    async def _publish(self, client: redis.asyncio.Redis) -> None:
        delay = RECONNECT_SECONDS[0]
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            numbers, self._pending = self._pending, {}
            try:
                for _, batch in batches(numbers):
                    await client.publish(CHANNEL, batch)
                delay = RECONNECT_SECONDS[0]
                await asyncio.sleep(PACE_SECONDS)
            except (RedisError, OSError) as error:
                merge(self._pending, numbers)
                self._has_news.set()
                delay = await _back_off(delay, "bell.redis_publish_failed", error)

    async def _listen(self, client: redis.asyncio.Redis, heard: Heard, reconnected: Callable[[], None]) -> None:
        delay = RECONNECT_SECONDS[0]
        while True:
            try:
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe(CHANNEL)
                    reconnected()
                    while True:
                        # A quiet channel answers with None after the time-out; a dead connection raises.
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=4)
                        delay = RECONNECT_SECONDS[0]
                        if message and message["type"] == "message":
                            heard(parse(message["data"]))
            except (RedisError, OSError) as error:
                delay = await _back_off(delay, "bell.redis_lost", error)


async def _back_off(delay: float, event: str, error: Exception) -> float:
    """Wait about ``delay`` and return the next one."""
    logger.warning(event, error=str(error), retry_seconds=delay)
    await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311
    return min(delay * 2, RECONNECT_SECONDS[1])


def publish_once(url: str, numbers: Numbers) -> None:
    """For a process without a loop of its own: one short try, on a connection of its own."""
    with (
        contextlib.suppress(RedisError, OSError),
        redis.Redis.from_url(url, socket_connect_timeout=0.3, socket_timeout=0.3) as client,
    ):
        for _, batch in batches(numbers):
            client.publish(CHANNEL, batch)
