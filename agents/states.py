"""A run's states and the moves between them: the table is the specification, all else is derived."""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    LOST = "lost"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


_ENDINGS: Final = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.TIMED_OUT})

MOVES: Final[dict[State, frozenset[State]]] = {
    State.QUEUED: frozenset({State.STARTING, State.FAILED, State.CANCELLED, State.TIMED_OUT}),
    State.STARTING: _ENDINGS | {State.RUNNING, State.STOPPING, State.LOST},
    State.RUNNING: _ENDINGS | {State.WAITING, State.STOPPING, State.LOST},
    State.WAITING: _ENDINGS | {State.RUNNING, State.STOPPING, State.LOST},
    State.STOPPING: _ENDINGS | {State.LOST},
    State.LOST: _ENDINGS | {State.RUNNING, State.WAITING, State.STOPPING},
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.TIMED_OUT: frozenset(),
}

ENDED: Final = frozenset(state for state, onward in MOVES.items() if not onward)
LIVE: Final = frozenset(MOVES) - ENDED
ON_NODE: Final = LIVE - {State.QUEUED}
"""States in which a node holds the run, as far as the hub knows."""


def sources(to: State) -> frozenset[State]:
    """The states from which a run may move to ``to``."""
    return frozenset(state for state, onward in MOVES.items() if to in onward)
