"""Which files a pattern on a command line stands for, as a shell would put them there."""

import glob
from collections.abc import Sequence
from itertools import islice
from typing import Final

from .places import EXPANDED

GLOBBED: Final = 3
"""Parts of a pattern with a mark in them: of more, looking for the files could take long."""


def on_disk(pattern: str) -> Sequence[str]:
    """The files as they are now; too many, where looking for them would take long."""
    if sum(any(mark in part for mark in "*?[") for part in pattern.split("/")) > GLOBBED:
        return unknown(pattern)
    return list(islice(glob.iglob(pattern), EXPANDED + 1))  # noqa: PTH207 - a Path has no glob of absolute patterns


def unknown(pattern: str) -> Sequence[str]:
    """Too many, where there is no disk to ask: it is asked what comes of it."""
    return [pattern] * (EXPANDED + 1)
