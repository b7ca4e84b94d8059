"""Newcomers take turns, so that the links that are there already get the database when they need it.

Without that a thousand nodes that come back at once keep each other out: their leases run out while others are greeted,
they are cut, and come again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nodes.contract.errors import Unavailable

AT_ONCE: Final = 4
MOST_WAITING: Final = 1_000
"""Who comes when so many wait is sent away, and comes again after a pause of its own."""


class Turns:
    """``turn()`` waits in line, first come, first served."""

    def __init__(self, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most_waiting = most_waiting
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """Raises ``Unavailable`` when the line is too long."""
        turn = Turn(self)
        await turn.begin()
        try:
            yield turn
        finally:
            turn.end()

    async def take(self) -> None:
        if self._waiting >= self._most_waiting:
            raise Unavailable("Too many nodes come at once. Come again in a moment.")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def give_back(self) -> None:
        self._free.release()


class Turn:
    """A place among the few that are let in at present. It can be given up early, and taken again."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._is_mine = False

    async def begin(self) -> None:
        if not self._is_mine:
            await self._turns.take()
            self._is_mine = True

    def end(self) -> None:
        if self._is_mine:
            self._is_mine = False
            self._turns.give_back()
