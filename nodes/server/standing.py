"""The policy of one run as it stands now, on this machine: whose home it is, and which grants are still alive."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from nodes.contract.policy import Action, Decision, Policy


class StandingPolicy:
    """A policy that was received now. A grant ends by the wall clock or by the time that it had left, whichever is
    first: setting this machine's clock back prolongs nothing that the hub told in seconds."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy.at_home(str(Path.home()))
        self._clock = clock
        began = clock()
        self._ends = {
            grant.id: began + (math.inf if grant.seconds_left is None else grant.seconds_left)
            for grant in policy.grants
        }

    def decide(self, actions: Sequence[Action]) -> Decision:
        """Judge a request by what holds at this moment."""
        now = self._clock()
        alive = tuple(grant for grant in self._policy.grants if now < self._ends[grant.id])
        policy = self._policy if len(alive) == len(self._policy.grants) else self._with(alive)
        return policy.decide(actions, now=datetime.now(UTC))

    def _with(self, grants: tuple[object, ...]) -> Policy:
        return self._policy.model_copy(update={"grants": grants})
