"""How long a run's supervisor has been without word that its hub is there, and what it does about that."""

import asyncio
from collections.abc import Callable
from typing import Final

STEP_SECONDS: Final = 1.0
TELLER_SECONDS: Final = 30.0
"""A node server that said the hub is there, and then nothing for this long, does not speak for it any more."""


class Disconnection:
    """Calls ``on_over`` once, when the hub has been away for ``seconds``; never where ``seconds`` is None.

    Counted in steps and not by the clock: who was stopped itself has heard nobody meanwhile. It begins as cut off,
    since a node server may never come to say otherwise.
    """

    def __init__(self, seconds: float | None, on_over: Callable[[], None]) -> None:
        self._seconds = seconds
        self._on_over = on_over
        self._is_linked = False
        self._away = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_watched(self) -> bool:
        """Whether it matters to this run if the hub is there."""
        return self._seconds is not None

    def start(self) -> None:
        if self.is_watched:
            self._wait()

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def told(self, is_linked: bool) -> None:
        """The node server says how it is, or has gone. That the hub is away counts from the first word of it."""
        if is_linked or self._is_linked:
            self._away = 0.0
        self._is_linked = is_linked

    def pass_time(self, seconds: float) -> bool:
        """So much more time without word. Whether it has become too much."""
        self._away += seconds
        return self._seconds is not None and self._away >= self._seconds + (TELLER_SECONDS if self._is_linked else 0.0)

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(STEP_SECONDS, self._step, loop.time())

    def _step(self, began: float) -> None:
        passed = min(asyncio.get_running_loop().time() - began, 2 * STEP_SECONDS)
        if self.pass_time(passed):
            self._timer = None
            self._on_over()
        else:
            self._wait()
