"""Database work off the event loop, on a few threads of its own, each with its own connection."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, connections

P = ParamSpec("P")
T = TypeVar("T")


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
        """Wait for what runs and what waits, then close the connections."""
        for _ in range(self._pool._max_workers):
            self._pool.submit(connections.close_all)
        self._pool.shutdown(wait=True, cancel_futures=False)
