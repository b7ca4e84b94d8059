"""What the hub itself sees of a node while it keeps the node's link: how reaching it goes, and what went wrong last.

In memory, at the link's owner; written down now and then as ``Node.measured``. Pure, but for the clock it is given.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from .contract.errors import HubError
from .contract.limits import HEARTBEAT_SECONDS

WINDOW_SECONDS: Final = 900.0
"""What is further back does not count."""
LEAST_ATTEMPTS: Final = 20
"""Fewer tell no rate: one failure of three is a node that was restarted."""
BEAT_SECONDS: Final = HEARTBEAT_SECONDS / 2
"""Heartbeats that come faster are one: a node does not improve its rate by them."""
_MOST_ATTEMPTS: Final = 1_000
AGAIN_SECONDS: Final = 60.0
"""The same trouble is written down once in this time."""
_TEXT: Final = 500
_LEFT: Final = "stopping"
"""A node's word when its server ends."""
_NO_TROUBLE: Final = frozenset({_LEFT, "superseded", "stale_epoch", "lease_lost"})
"""Ends of links that are nobody's fault."""


class Measured:
    """Of one node, over all its links.

    An attempt to reach it is a dial, or a heartbeat that is due over the link. One fails if no link comes of
    it, or if the link breaks without a word. Failures within one heartbeat of each other are one: how often the hub
    knocks at a closed door says nothing of the door.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._attempts: deque[tuple[float, bool]] = deque(maxlen=_MOST_ATTEMPTS)
        self._is_awaited = True
        self._trouble: dict[str, Any] | None = None
        self._written: tuple[tuple[str, str], float] | None = None
        self.latency_ms: float | None = None
        self.clock_skew_s: float | None = None

    @property
    def failure_rate(self) -> float | None:
        """A share of 1; None while there are too few attempts to tell."""
        self._forget()
        if len(self._attempts) < LEAST_ATTEMPTS:
            return None
        return round(sum(not is_good for _, is_good in self._attempts) / len(self._attempts), 4)

    def reached(self) -> None:
        """A link was made. What failed before the first one does not count: hub or node were just starting."""
        if not any(is_good for _, is_good in self._attempts):
            self._attempts.clear()
        self._is_awaited = True
        self._trouble = self._written = None
        self._note(is_good=True)

    def beat(self, latency_ms: float | None, clock_us: int, now_us: int) -> None:
        """A heartbeat was heard. Its clock is compared with ours, less the time that it was under way."""
        self.latency_ms = latency_ms
        ahead = (clock_us - now_us) / 1_000_000 + (latency_ms or 0) / 2_000
        self.clock_skew_s = round(max(-1e9, min(1e9, ahead)), 2) + 0.0  # no minus before a zero
        self._note(is_good=True)

    def failed(self, error: HubError, at: datetime) -> None:
        """No link came of a dial, or the link is over. One that the node said goodbye to is no failure."""
        code = str(error.data.get("code") or error.code)
        if code in _NO_TROUBLE:
            self._is_awaited = self._is_awaited and code != _LEFT
            return
        cause = str(error.data.get("cause", ""))
        text = error.text.replace("\x00", "\ufffd")[:_TEXT]
        self._trouble = {"code": error.code, "cause": cause, "text": text, "at": at.isoformat()}
        if self._is_awaited:
            self._note(is_good=False)

    def is_worth_writing(self) -> bool:
        """Whether the present trouble is another one than was written last, or that was a while ago."""
        if self._trouble is None:
            return False
        kind, now = (self._trouble["code"], self._trouble["cause"]), self._clock()
        if self._written and self._written[0] == kind and now - self._written[1] < AGAIN_SECONDS:
            return False
        self._written = kind, now
        return True

    def as_row(self) -> dict[str, Any]:
        """As ``Node.measured`` keeps it."""
        return {
            "latency_ms": self.latency_ms,
            "failure_rate": self.failure_rate,
            "clock_skew_s": self.clock_skew_s,
            "trouble": self._trouble,
        }

    def _note(self, *, is_good: bool) -> None:
        now = self._clock()
        if self._attempts:
            last, was_good = self._attempts[-1]
            if is_good == was_good and now - last < (BEAT_SECONDS if is_good else HEARTBEAT_SECONDS):
                return
        self._attempts.append((now, is_good))
        self._forget()

    def _forget(self) -> None:
        oldest = self._clock() - WINDOW_SECONDS
        while self._attempts and self._attempts[0][0] < oldest:
            self._attempts.popleft()
