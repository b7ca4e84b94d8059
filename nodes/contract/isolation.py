"""How far an agent is kept from what is not its own, from the least to the most. ``docs/isolation.md`` has the rest."""

from typing import Final, Literal

Isolation = Literal["none", "masked", "user"]
Network = Literal["shared", "none"]
LEVELS: Final[tuple[Isolation, ...]] = ("none", "masked", "user")
_RANKS: Final[dict[str, int]] = {level: rank for rank, level in enumerate(LEVELS)}


def strongest(*levels: str) -> Isolation:
    """Of several demands, the one that meets them all. A word that is no level demands the most."""
    return LEVELS[max(_RANKS.get(level, len(LEVELS) - 1) for level in levels)]


def narrowest(*networks: str) -> Network:
    """Of several demands, the one that meets them all: ``shared`` only if nobody demands anything else."""
    return "shared" if set(networks) <= {"shared"} else "none"
