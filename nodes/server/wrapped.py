"""Base64 and hex of what is secret, as they are printed: in lines of some length, in a patch, in JSON.

Where the lines break is anybody's choice, so the forms are kept without breaks, and a text is walked along one
line by line. Patterns with an optional break between any two characters would take seconds to compile.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

HEAD_CHARS: Final = 4
"""So many characters of a form, with breaks or without, are worth a look at the rest."""
_BREAK: Final = re.compile(r"\r?\n|(?:\\{1,4}r)?\\{1,4}n")
"""As it is, and as it stands in JSON, and in JSON within that."""
_BREAK_CHARS: Final = 11
"""The longest, with the mark of a patch."""
_MARKS: Final = "+- "
_UNSURE: Final = dict.fromkeys(map(ord, f"\r\n\\rn{_MARKS}"))
"""What may be a part of a break: left out on both sides where only the beginning of a form is seen."""


class WrappedForms:
    """Forms that hold no line break, to be found with breaks anywhere within them."""

    def __init__(self, forms: Iterable[str]) -> None:
        self._by_head = defaultdict[str, list[str]](list)
        self._sure = defaultdict[str, list[str]](list)
        for form in sorted(forms, key=len, reverse=True):
            self._by_head[form[0]].append(form)
            self._sure[form[0]].append(form.translate(_UNSURE))
        self._longest = max((len(form) for found in self._by_head.values() for form in found), default=0)
        self.heads = sorted({form[:HEAD_CHARS] for found in self._by_head.values() for form in found})

    def patterns(self) -> list[str]:
        """Where one may begin; each begins with a plain character."""
        between = rf"(?:(?:{_BREAK.pattern})[{re.escape(_MARKS)}]?)?"
        return [between.join(map(re.escape, head)) for head in self.heads]

    def end(self, text: str, at: int) -> int:
        """Where the longest that begins at ``at`` ends; -1 if none does."""
        return max(
            (_walk(text, at, form, mark) for form in self._by_head.get(text[at], ()) for mark in (0, 1)), default=-1
        )

    def hold_from(self, text: str, start: int) -> int:
        """From where on the end of ``text`` could be the beginning of one; its length if nowhere. Rather too early."""
        first = max(start, len(text) - self._longest * _BREAK_CHARS)
        left = text[first:].translate(_UNSURE)
        offset = 0
        for at in range(first, len(text)):
            here = text[at]
            if len(left) - offset <= self._longest and here in self._sure:
                seen = left[offset : offset + HEAD_CHARS]
                for form in self._sure[here]:
                    if form.startswith(seen) and form.startswith(left[offset:]):
                        return at
            offset += ord(here) not in _UNSURE
        return len(text)


def _walk(text: str, at: int, form: str, mark: int) -> int:
    """Where ``form`` ends, if it stands there with a patch's ``mark`` after each break, or none; else -1."""
    done = 0
    while True:
        broken = _BREAK.search(text, at, at + len(form) - done + _BREAK_CHARS)
        piece = text[at : at + len(form) - done] if broken is None else text[at : broken.start()]
        piece = piece[: len(form) - done]
        if not form.startswith(piece, done):
            return -1
        at += len(piece)
        done += len(piece)
        if done == len(form):
            return at
        if broken is None or (mark and text[broken.end() : broken.end() + 1] not in tuple(_MARKS)):
            return -1
        if not piece:  # one break, not an empty line
            return -1
        at = broken.end() + mark
