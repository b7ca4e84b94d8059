"""The states of a delivery and the moves between them."""

from typing import Final

from django.db import models


class State(models.TextChoices):
    QUEUED = "queued", "Queued"
    LEASED = "leased", "Leased"
    ACKED = "acked", "Acked"
    DEAD = "dead", "Dead"


MOVES: Final[dict[State, frozenset[State]]] = {
    State.QUEUED: frozenset({State.LEASED, State.ACKED, State.DEAD}),
    State.LEASED: frozenset({State.QUEUED, State.ACKED, State.DEAD}),
    State.ACKED: frozenset(),
    State.DEAD: frozenset({State.QUEUED}),
}
"""``leased → queued``: the lease ran out. ``dead → queued``: somebody had it delivered again."""

OPEN: Final = frozenset({State.QUEUED, State.LEASED})


def sources(to: State) -> list[str]:
    """The states that may become ``to``."""
    return [state.value for state, onward in MOVES.items() if to in onward]
