"""Deltas, fewer: the first at once, then one per 50 ms or 4 KiB and kind of text."""

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from nodes.contract.limits import DELTA_BYTES, DELTA_SECONDS

PIECE_CHARS = 8 * 1024
"""Of one delta: however JSON escapes it, it stays an event."""

K = TypeVar("K", bound=Hashable)


class Coalescer(Generic[K]):
    """Collects texts by key and hands them to ``write``, in the order in which their keys began.

    It has no timer of its own: when ``due`` is not None, call ``flush`` at that time.
    """

    def __init__(self, write: Callable[[K, str], None], clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._pending: dict[K, list[str]] = {}
        self._size = 0
        self._written_at: dict[K, float] = {}
        self.due: float | None = None

    def add(self, key: K, text: str) -> None:
        """Written now if the key was quiet or enough has gathered, else by the next ``flush``."""
        if not text:
            return
        now = self._clock()
        is_leading = key not in self._pending and now - self._written_at.get(key, -1.0) >= DELTA_SECONDS
        self._pending.setdefault(key, []).append(text)
        self._size += len(text)
        if is_leading or self._size >= DELTA_BYTES:
            self.flush()
        elif self.due is None:
            self.due = now + DELTA_SECONDS

    def flush(self) -> None:
        """Write everything that waits."""
        pending, self._pending = self._pending, {}
        self.due, self._size = None, 0
        now = self._clock()
        for key, texts in pending.items():
            self._written_at[key] = now
            for piece in _pieces("".join(texts)):
                self._write(key, piece)
        if len(self._written_at) > 64:
            self._written_at = {k: at for k, at in self._written_at.items() if now - at < DELTA_SECONDS}


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE_CHARS):
        yield text[start : start + PIECE_CHARS]
