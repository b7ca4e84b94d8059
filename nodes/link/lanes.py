"""What waits to be sent: one bounded lane per urgency, the most urgent frame first."""

import asyncio
from collections import deque
from enum import IntEnum
from typing import Generic, TypeVar

Frame = TypeVar("Frame")

LANE_FRAMES = 256
LANE_BYTES = 1024 * 1024


class Lane(IntEnum):
    """The order of sending."""

    HEARTBEAT = 0
    RESULT = 1
    COMMAND = 2
    RECORDS = 3
    CHUNK = 4


LANE_OF = {
    "goodbye": Lane.HEARTBEAT,
    "heartbeat": Lane.HEARTBEAT,
    "ping": Lane.HEARTBEAT,
    "pong": Lane.HEARTBEAT,
    "hello": Lane.RESULT,
    "welcome": Lane.RESULT,
    "trust": Lane.RESULT,
    "result": Lane.RESULT,
    "ack": Lane.RESULT,
    "file_ack": Lane.RESULT,
    "command": Lane.COMMAND,
    "actor_call": Lane.COMMAND,
    "actor_answer": Lane.COMMAND,
    "records": Lane.RECORDS,
    "chunk": Lane.CHUNK,
}
"""By the name of the frame's ``oneof``, for both directions."""


class Lanes(Generic[Frame]):
    """A priority queue for one sender. A lane takes ``LANE_FRAMES`` frames and ``LANE_BYTES`` bytes, but always one."""

    def __init__(self) -> None:
        self._lanes: list[deque[tuple[Frame, int]]] = [deque() for _ in Lane]
        self._bytes = [0] * len(Lane)
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    def try_put(self, lane: Lane, frame: Frame, size: int) -> bool:
        """False if the lane is full."""
        queue = self._lanes[lane]
        if queue and (len(queue) >= LANE_FRAMES or self._bytes[lane] + size > LANE_BYTES):
            return False
        queue.append((frame, size))
        self._bytes[lane] += size
        self._filled.set()
        return True

    async def put(self, lane: Lane, frame: Frame, size: int) -> None:
        """Wait for room. The caller bounds the wait."""
        while not self.try_put(lane, frame, size):
            self._taken.clear()
            await self._taken.wait()

    async def take(self) -> Frame:
        """The most urgent frame; frames of one lane keep their order."""
        while True:
            for lane, queue in enumerate(self._lanes):
                if queue:
                    frame, size = queue.popleft()
                    self._bytes[lane] -= size
                    self._taken.set()
                    return frame
            self._filled.clear()
            await self._filled.wait()
