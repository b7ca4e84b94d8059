"""Messages that count against a bound which is kept above this package: how they are posted."""

from collections.abc import Callable
from typing import Final

from mailboxes.sending import Draft, Sent
from mailboxes.services import post

Posting = Callable[[], Sent]
Rule = Callable[[Draft], Posting | None]
_rules: Final[list[Rule]] = []


def say_posting(rule: Rule) -> None:
    """``rule`` tells how to post a draft that is bounded, None for one that is not. Said once, as the apps begin."""
    _rules[:] = [rule]


def posting_of(made: Draft) -> Posting | None:
    """What posts it within its bound, or refuses to; None where nothing bounds it."""
    return _rules[0](made) if _rules else None


def post_bounded(made: Draft) -> Sent:
    """``post`` it, within its bound if there is one."""
    bounded = posting_of(made)
    return bounded() if bounded else post(made)
