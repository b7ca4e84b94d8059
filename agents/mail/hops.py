"""How often agents may answer each other: what a project's limits say, which are kept above this package."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from mailboxes.limits import HOPS

Rule = Callable[[UUID], int]
_rules: Final[list[Rule]] = []


def say_most_hops(rule: Rule) -> None:
    """``rule`` tells it of each project. Said once, as the apps begin."""
    _rules[:] = [rule]


def most_hops_of(project_id: UUID) -> int:
    """Of agents' messages; the mailboxes' own bound where nobody says otherwise."""
    return _rules[0](project_id) if _rules else HOPS
