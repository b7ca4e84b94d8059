"""Token buckets, one per key, in this process."""

import time
from collections import OrderedDict
from typing import Final

MAX_KEYS: Final = 20_000


class Rates:
    """At most ``per_second`` for each key, after a burst."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def has(self, key: str) -> bool:
        """Whether one may be taken, without taking it."""
        return self._now(key) >= 1

    def take(self, key: str) -> bool:
        """Take one; False if there was none left."""
        left = self._now(key)
        self._left[key] = (max(left - 1, 0.0), time.monotonic())
        self._left.move_to_end(key)
        if len(self._left) > MAX_KEYS:
            self._left.popitem(last=False)
        return left >= 1

    def _now(self, key: str) -> float:
        left, at = self._left.get(key, (self._burst, 0.0))
        return min(self._burst, left + (time.monotonic() - at) * self._per_second)
