"""Which versions of the link's protocol an end speaks, and which one two ends agree on.

Frames change by addition, which needs no new version: an older end leaves out what it does not know. A version is
for what an older end would get wrong. Each end serves the one before its own.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Spoken:
    """Every version from ``oldest`` to ``newest``."""

    oldest: int
    newest: int

    def agree(self, other: "Spoken") -> int | None:
        """The newest version that both speak."""
        newest = min(self.newest, other.newest)
        return newest if newest >= max(self.oldest, other.oldest) else None

    def __contains__(self, version: int) -> bool:
        return self.oldest <= version <= self.newest

    def __str__(self) -> str:
        return f"version {self.newest}" if self.oldest == self.newest else f"versions {self.oldest} to {self.newest}"


PROTOCOL: Final = 1
SPOKEN: Final = Spoken(oldest=1, newest=PROTOCOL)
"""What this software speaks."""
