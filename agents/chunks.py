"""Older parts of runs, read and encoded once for all readers that catch up at the same time."""

import asyncio
from collections import OrderedDict
from typing import Final
from uuid import UUID

from .reading import PAGE_ROWS, Encoded, RunHead, encode, in_thread, read_events

CHUNK_EVENTS: Final = PAGE_ROWS
CHUNKS_BYTES: Final = 64 * 1024 * 1024
"""All chunks that are kept, together; each is forgotten when others were wanted later."""

Key = tuple[UUID, int, int]


class Chunks:
    """Chunks begin at fixed numbers, so that readers who stand at different places in one share it."""

    def __init__(self, most_bytes: int = CHUNKS_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[Key, tuple[list[Encoded], int]] = OrderedDict()
        self._reading: dict[Key, asyncio.Task[list[Encoded]]] = {}

    async def read(self, head: RunHead, after: int, upto: int) -> list[Encoded]:
        """The events after ``after`` up to the end of its chunk, or to ``upto``; empty if the rows are missing."""
        start = after - after % CHUNK_EVENTS
        key = (head.run_id, start, min(start + CHUNK_EVENTS, upto))
        kept = self._kept.get(key)
        if kept:
            self._kept.move_to_end(key)
            events = kept[0]
        else:
            task = self._reading.get(key)
            if task is None:
                task = self._reading[key] = asyncio.create_task(self._read(key, head))
            events = await asyncio.shield(task)
        return [event for event in events if event.seq > after]

    async def _read(self, key: Key, head: RunHead) -> list[Encoded]:
        try:
            events = await in_thread(_read_chunk, head, key[1], key[2])
            size = sum(len(event.text) for event in events)
            self._kept[key] = (events, size)
            self._bytes += size
            while self._bytes > self._most_bytes:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed
            return events
        finally:
            del self._reading[key]


def _read_chunk(head: RunHead, after: int, upto: int) -> list[Encoded]:
    return encode(head, [row for row in read_events(head.run_id, after, CHUNK_EVENTS) if row.seq <= upto])
