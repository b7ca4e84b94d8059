"""Pools and labels: what nodes have and agents ask for, by the same rules."""

import re
from typing import Any, Final

MOST_OF_A_NODE: Final = 64
MOST_ASKED_FOR: Final = 16
_POOL: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")


def wrong_with_pool(pool: Any) -> str:
    """What does not fit, in words; empty if nothing. So is ``wrong_with_labels``."""
    return "" if _POOL.fullmatch(str(pool)) else "At most 64 of A-Z a-z 0-9 . _ - and nothing else."


def wrong_with_labels(labels: Any, most: int) -> str:
    if not isinstance(labels, dict) or len(labels) > most:
        return f"An object of at most {most} texts by name."
    fits = all(
        isinstance(text, str) and 0 < len(name) <= 63 and len(text) <= 256 and "\x00" not in name + text
        for name, text in labels.items()
    )
    return "" if fits else "Names of 1 to 63 characters, and texts of at most 256."
