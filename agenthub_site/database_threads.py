"""Database work off the event loop, on a few threads of its own, each with its own connection."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Final, ParamSpec, TypeVar

from django.db import DatabaseError, connections

P = ParamSpec("P")
T = TypeVar("T")

CLOSE_SECONDS: Final = 5.0
"""How long threads that are done wait for one that is not."""


class DatabaseThreads:
    """Runs synchronous database functions for an event loop. A broken connection is dropped, not reused."""

    def __init__(self, threads: int = 4) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="database")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result; its exceptions are raised here."""

        def call() -> T:
            try:
                return function(*args, **kwargs)
            except DatabaseError:
                connections.close_all()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Wait for what runs and what waits, then have every thread close its connection."""
        threads = self._pool._max_workers
        together = Barrier(threads)  # so that no thread takes another's turn

        def leave() -> None:
            with suppress(BrokenBarrierError):
                together.wait(CLOSE_SECONDS)
            connections.close_all()

        for _ in range(threads):
            self._pool.submit(leave)
        self._pool.shutdown(wait=True, cancel_futures=False)
