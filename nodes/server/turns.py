"""What an agent is told, in order; and how long it may be silent."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

WAITING_INPUTS = 100
"""Inputs in line at most; more are refused."""


@dataclass(frozen=True, slots=True)
class Input:
    """One prompt. Its id makes a repeat the same input."""

    id: str
    text: str


class TurnQueue:
    """The line of inputs of a run. ``interruption`` is set while one wants the present turn's place."""

    def __init__(self, first: Input) -> None:
        self._waiting = deque([first])
        self._seen = {first.id}
        self._has_more = asyncio.Event()
        self._has_more.set()
        self.interruption = asyncio.Event()
        self._is_closed = False

    def close(self) -> None:
        """The last turn is over: what comes now would never be heard."""
        self._is_closed = True

    def add(self, input_: Input, mode: Literal["queue", "interrupt"]) -> str:
        """ "" if it is in line (or was before), else why not."""
        if input_.id in self._seen:
            return ""
        if self._is_closed:
            return "run_ended"
        if len(self._waiting) >= WAITING_INPUTS:
            return "too_many_inputs"
        self._seen.add(input_.id)
        if mode == "interrupt":
            self._waiting.appendleft(input_)
            self.interruption.set()
        else:
            self._waiting.append(input_)
        self._has_more.set()
        return ""

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    async def next(self) -> Input:
        """The next input; waits for one."""
        await self._has_more.wait()
        input_ = self._waiting.popleft()
        if not self._waiting:
            self._has_more.clear()
        self.interruption.clear()
        return input_


class SilenceTimer:
    """Calls ``on_silence`` once per silence of ``seconds``, and ``on_sound`` when it is over."""

    def __init__(self, seconds: float, on_silence: Callable[[], None], on_sound: Callable[[], None]) -> None:
        self._seconds = seconds
        self._on_silence = on_silence
        self._on_sound = on_sound
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._is_silent = False

    def start(self) -> None:
        """A turn begins, or goes on after a question."""
        self.stop()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(self._seconds, self._check)

    def stop(self) -> None:
        """Nothing is expected of the agent at present."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._is_silent = False

    def touch(self) -> None:
        """The agent said something."""
        self._heard = self._loop.time()
        if self._is_silent:
            self._is_silent = False
            self._on_sound()

    def _check(self) -> None:
        due = self._heard + self._seconds
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._check)
            return
        if not self._is_silent:
            self._is_silent = True
            self._on_silence()
        self._timer = self._loop.call_later(self._seconds, self._check)
