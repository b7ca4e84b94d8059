"""What a token may do at most: words, as in ``run`` or ``run:start approval:answer``.

A scope never gives what its holder's role does not: ``may`` asks for both.
"""

from functools import lru_cache
from typing import Final

from nodes.contract.errors import Invalid

from .permissions import Can

_READ: Final = frozenset({Can.VIEW, Can.VIEW_USAGE, Can.VIEW_AUDIT})
SCOPES: Final[dict[str, frozenset[Can]]] = {
    "read": _READ,
    "run": _READ | {Can.START_RUN, Can.SEND_INPUT, Can.CANCEL_RUN},
    "answer": _READ | {Can.ANSWER_APPROVAL},
    "all": frozenset(Can) - {Can.USE_HUB_TOOLS},
}
"""Those with a name of their own. Every capability's own name is a scope as well."""
ALL: Final = "all"
MOST_CHARS: Final = 400


def clean_scope(text: str) -> str:
    """The words in order and once each. ``Invalid`` for none, and for one that does not exist."""
    words = sorted(set(text.replace(",", " ").split()))
    known = {*SCOPES, *Can}
    if not words or not known.issuperset(words):
        wrong = f"There is no scope {', '.join(word for word in words if word not in known)[:100]!r}. " if words else ""
        message = f"{wrong}Use {', '.join(SCOPES)}, or capabilities such as run:start."
        raise Invalid(message, fields={"scope": [message]})
    if ALL in words:
        return " ".join([ALL, *(word for word in words if word == Can.USE_HUB_TOOLS)])
    return " ".join(words)


@lru_cache(maxsize=1_000)
def capabilities_of(scope: str) -> frozenset[str]:
    """What the words allow. To see is in every scope: what one cannot see one cannot act on."""
    allowed: set[str] = {Can.VIEW}
    for word in scope.split():
        allowed |= SCOPES.get(word, {word})
    return frozenset(allowed)
