"""Waiting without guessing how long: ``eventually`` and its awaitable twin."""

import asyncio
import contextlib
import inspect
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE_SECONDS = 0.02


def eventually(predicate: Callable[[], T], timeout: float = 30.0) -> T:
    """The first true answer of ``predicate``; fails with its last answer after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > end:
            raise AssertionError(f"Not within {timeout} s: {_source(predicate)} is still {answer!r}")
        time.sleep(PAUSE_SECONDS)
    return answer


async def eventually_async(predicate: Callable[[], T | Awaitable[T]], timeout: float = 30.0) -> T:
    """As ``eventually``, without blocking the loop; ``predicate`` may be a coroutine function."""
    end = time.monotonic() + timeout
    while True:
        answer = predicate()
        value: T = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"Not within {timeout} s: {_source(predicate)} is still {value!r}")
        await asyncio.sleep(PAUSE_SECONDS)


def free_port() -> int:
    """A port of loopback below those that the kernel gives away, so that nobody is given it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _source(predicate: Callable[..., object]) -> str:
    try:
        return inspect.getsource(predicate).strip()
    except (OSError, TypeError):
        return repr(predicate)
