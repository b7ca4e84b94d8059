"""What leaves the node: without secrets, without paths outside the workspace, as valid Unicode.

One scanner goes over every text from left to right. Where something begins that might be
a secret it decides only once it has seen enough, so that a text in pieces comes out as it
would in one piece, but for up to ``LEAD_CHARS`` that were shown when its text paused. Token
shapes are never held back longer than it takes to tell them from other words; of what is
certain, the rest is swallowed as it comes.
"""

import asyncio
import base64
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, quote_plus, unquote

from nodes.contract.events import Payload

from .quoted import lowered, quoted
from .wrapped import WrappedForms

SECRET: Final = "[secret]"  # noqa: S105
PATH: Final = "[path]"
MIN_SECRET_CHARS: Final = 6
"""Known values shorter than this are words like any other, and are left alone."""
LEAST_BASE64: Final = 8
"""Of base64 in the midst of other base64: fewer characters are too often there by chance."""
PEM_CHARS: Final = 64 * 1024
"""A private key without an end is swallowed this far."""
JSON_DEPTH: Final = 3
"""JSON as a text within JSON, so often: a tool's arguments hold a request's body, which holds a document."""
LEAD_CHARS: Final = 2
"""What may become a secret is shown this far where its text pauses: an agent's last words are there to be read."""
SLICE_CHARS: Final = 64 * 1024
"""How much of a long text is redacted without a pause: some milliseconds' work."""
PUBLIC_DIRS: Final = frozenset(
    ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "opt", "proc", "run", "sbin", "sys", "usr")
)
"""Directories under the root that say nothing about this node or its people."""

_BAD = re.compile("[\x00\ud800-\udfff]")
_SECRET_NAME = re.compile(
    r"""(?: (?: key | token | secret | password | passwd | passphrase | credential | cookie | dsn | cred ) s?
          | conn(?:ection)?_?str(?:ing)?s? | (?: ^|_ ) (?: pat | pass | auth | jwt | bearer ) | _pwd )
        (?: _? \d+ | _ (?: b64 | base64 | json | pem | old | new | previous | current | primary | secondary
                        | live | prod | production | staging | dev | test ) )* $""",
    re.IGNORECASE | re.VERBOSE,
)
_IS_COUNT = re.compile(r"(?i)[a-z_]+tokens=\d{1,9}")
"""What ``MAX_TOKENS`` holds is a number, and numbers like it are everywhere."""
_IN_VALUES = (
    re.compile(r"://[^\s/:@]*:([^\s/]+)@"),  # the password in a URL
    re.compile(r"://([^\s/:@]{16,})@"),  # a token in its place
    re.compile(r"(?i)(?:password|pwd|accountkey|sharedaccesskey|secret)\s*=\s*([^;\s&\"']+)"),  # in a connection string
)
_WORD = "A-Za-z0-9"
_MAX_COMPONENT = 255

P = TypeVar("P", bound=Payload)

# A decision at a place: None to wait for more, else where to go on, what to put there, and what to swallow after it.
_Decision = tuple[int, str, "re.Pattern[str] | None"]
_NOTHING: Final[_Decision] = (0, "", None)


class _Shape:
    """A token known by its beginning: head, then at least ``least`` of some characters, however many follow."""

    def __init__(self, head: str, chars: str, least: int) -> None:
        self.head = head
        self._least = re.compile(f"[{chars}]{{0,{least}}}")
        self._count = least
        self._rest = re.compile(f"[{chars}]*")

    def decide(self, text: str, at: int, is_last: bool) -> _Decision | None:
        start = at + len(self.head)
        end = self._least.match(text, start).end()  # type: ignore[union-attr]  # it matches nothing, too
        if end - start == self._count:
            return end, SECRET, self._rest
        return _NOTHING if end < len(text) or is_last else None


class _TwoPart:
    """A token of two parts: ``whole`` makes it certain, ``part`` may still become it, ``rest`` may follow."""

    def __init__(self, whole: str, part: str, rest: str) -> None:
        self._whole, self._part, self._rest = re.compile(whole), re.compile(part), re.compile(rest)

    def decide(self, text: str, at: int, is_last: bool, kept: str = "") -> _Decision | None:
        if found := self._whole.match(text, at):
            return found.end(), kept + SECRET, self._rest
        return None if not is_last and self._part.fullmatch(text, at) else _NOTHING


_JWT: Final = _TwoPart(
    whole=r"eyJ[\w-]{8,1000}\.[\w-]{8}",
    part=r"eyJ(?:[\w-]{0,1000}|[\w-]{8,1000}\.[\w-]{0,7})",
    rest=r"[\w.\-]*",
)
_BEARER: Final = _TwoPart(
    whole=r"(?i:bearer)[ \t]{1,8}[\w.~+/=\-]{16}",
    part=r"(?i:bearer)[ \t]{0,8}(?:(?<=[ \t])[\w.~+/=\-]{0,15})?",
    rest=r"[\w.~+/=\-]*",
)
_SHAPES: Final = [
    _Shape("sk-", r"\w\-", 16),
    *(_Shape(f"gh{kind}_", r"\w", 16) for kind in "pousr"),
    _Shape("github_pat_", r"\w", 16),
    _Shape("glpat-", r"\w\-", 16),
    *(_Shape(f"xox{kind}-", r"\w\-", 10) for kind in "abeoprs"),
    *(_Shape(kind, "A-Z0-9", 16) for kind in ("AKIA", "ASIA")),
    _Shape("AIza", r"\w\-", 30),
    _Shape("aht_", r"\w\-", 8),
]
_BY_HEAD: Final = {shape.head: shape for shape in _SHAPES}
_JWT_HEAD: Final = "eyJ"
_PEM_HEAD: Final = "-----BEGIN "
_PEM_BEGIN: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}?PRIVATE KEY(?: BLOCK)?-----")
_PEM_LINE: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,60}-{0,5}")
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}?PRIVATE KEY(?: BLOCK)?-----")
_SENTENCE_END: Final = re.compile(r"\.(?:[^\w.@+~%#=\-/]|$)")
_COMPONENT: Final = re.compile(r"[\w.@+~%#=\-]*")
_PATH_REST: Final = re.compile(r"[\w.@+~%#=/\-]*")
_BEGUN_HEADS: Final = {head[:size].lower() for head in (*_BY_HEAD, _JWT_HEAD, "bearer") for size in range(1, len(head))}
_LONGEST_HEAD: Final = max(map(len, _BEGUN_HEADS))


class Redactor:
    """Knows what is secret in one run. ``roots`` are the names under ``/``.

    ``workspace`` stays readable, and so do ``configured`` paths: other spellings of it, or what our own
    refusals are about.
    """

    def __init__(
        self,
        secrets: Iterable[str] = (),
        workspace: Path | None = None,
        roots: Iterable[str] | None = None,
        configured: Iterable[str] = (),
    ) -> None:
        known = [secret for secret in secrets if len(secret) >= MIN_SECRET_CHARS]
        found = {form for secret in known for form in _forms_of(secret)}
        encoded = {form for secret in known for form in _encoded(secret)}
        self._wrapped = WrappedForms(encoded)
        self._plain = sorted(found, key=len, reverse=True)
        self.literals = [*self._plain, *encoded]
        readable = {*configured, *([str(workspace)] if workspace else [])}
        self._readable = sorted(readable, key=len, reverse=True)
        self._private = frozenset(os.listdir("/") if roots is None else roots) - PUBLIC_DIRS  # noqa: PTH208
        self._known = frozenset(self._plain)
        self.trigger = _trigger(self._plain, self._private, self._wrapped)
        self._long_heads = [*self._plain, _PEM_HEAD]
        self._first_chars = {head[0] for head in self._long_heads}
        self._longest = max(map(len, self._long_heads))

    def text(self, text: str) -> str:
        """A text that is whole."""
        return self.stream().feed(text, is_last=True)

    def excerpt(self, text: str) -> str:
        """A text that may have been cut, perhaps within a known secret: the beginning of one at its end goes too."""
        return self._trimmed(self.text(text))

    async def long_excerpt(self, text: str) -> str:
        """As ``excerpt``, in slices between which everything else goes on: a patch has up to ``BLOB_BYTES``."""
        stream = self.stream()
        clean = []
        for at in range(0, len(text), SLICE_CHARS):
            clean.append(stream.feed(text[at : at + SLICE_CHARS]))
            await asyncio.sleep(0)
        clean.append(stream.feed("", is_last=True))
        return self._trimmed("".join(clean))

    def _trimmed(self, clean: str) -> str:
        ellipsis = "…" if clean.endswith("…") else ""
        end = len(clean) - len(ellipsis)
        for at in range(max(0, end - self._longest + 1), end - MIN_SECRET_CHARS + 1):
            if clean[at] in self._first_chars and any(secret.startswith(clean[at:end]) for secret in self._plain):
                return clean[:at] + SECRET + ellipsis
        at = self._wrapped.hold_from(clean[:end], 0)
        return clean[:at] + SECRET + ellipsis if end - at >= LEAST_BASE64 else clean

    def stream(self) -> "RedactedStream":
        """For a text that comes in pieces."""
        return RedactedStream(self)

    def payload(self, payload: P) -> P:
        """Every text in a payload, at any depth."""
        return type(payload).model_validate(self._leaves(payload.model_dump()))

    def _leaves(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.excerpt(value) if value else value
        if isinstance(value, dict):
            return {key: self._leaves(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._leaves(item) for item in value]
        return value

    def hold_from(self, text: str, start: int) -> int:
        """From where on the end of ``text`` could be the beginning of something; its length if nowhere."""
        return min(self._wrapped.hold_from(text, start), self._hold_plain_from(text, start))

    def _hold_plain_from(self, text: str, start: int) -> int:
        for at in range(max(start, len(text) - self._longest + 1), len(text)):
            if text[at] in self._first_chars and any(head.startswith(text[at:]) for head in self._long_heads):
                break
        else:
            at = len(text)
        for short in range(max(start, len(text) - _LONGEST_HEAD), at):
            if text[short:].lower() in _BEGUN_HEADS and (short == 0 or not _is_word(text[short - 1])):
                return short
        return at

    def decide(self, text: str, found: "re.Match[str]", is_last: bool) -> _Decision | None:
        """What to do where the trigger hit; None if that depends on what comes next."""
        at, head = found.start(), found[0]
        end = self._wrapped.end(text, at)
        if head in self._known:
            return max(end, found.end()), SECRET, None
        if end > 0:
            return end, SECRET, None
        if head == "/":
            return self._decide_path(text, at, is_last)
        if head == _JWT_HEAD:
            return _JWT.decide(text, at, is_last)
        if head == _PEM_HEAD:
            return _decide_pem(text, at, is_last)
        if shape := _BY_HEAD.get(head):
            return shape.decide(text, at, is_last)
        return _BEARER.decide(text, at, is_last, f"{head} ") if head.lower() == "bearer" else _NOTHING

    def _decide_path(self, text: str, at: int, is_last: bool) -> _Decision | None:
        for readable in self._readable:
            length = len(readable)
            if text.startswith(readable, at):
                beyond = text[at + length : at + length + 4]
                if not is_last and len(beyond) < 4 and ("/../".startswith(beyond) or beyond == "."):
                    return None
                is_end = not _component(beyond, 0) or _SENTENCE_END.match(beyond)
                if is_end and not (beyond == "/../" or (beyond == "/.." and is_last)):
                    return at + length, readable, None
            elif not is_last and len(text) - at < length and readable.startswith(text[at:]):
                return None
        end = at + 1 + len(_component(text, at + 1))
        name = text[at + 1 : end]
        if end == len(text):
            return None if not is_last and any(root.startswith(name) for root in self._private) else _NOTHING
        if text[end] != "/" or name not in self._private:
            return _NOTHING
        if end + 1 == len(text):
            return _NOTHING if is_last else None
        return (end, PATH, _PATH_REST) if _component(text, end + 1) else _NOTHING


class RedactedStream:
    """One text in pieces. What ``feed`` and ``peek`` returned so far, and will return, is the redacted whole, with what
    ``peek`` showed, ``LEAD_CHARS`` at most, before a ``[secret]`` or ``[path]``.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._text = ""
        self._at = 0  # before it lies only what a look back needs
        self._shown = 0  # up to here it was given out, from _at on undecided
        self._swallow: re.Pattern[str] | None = None

    def feed(self, piece: str, *, is_last: bool = False) -> str:
        """What is certain by now. ``is_last`` gives out the rest; the stream begins anew after it."""
        text = self._text + _BAD.sub("\ufffd", piece)
        at, shown = self._at, self._shown
        out: list[str] = []
        hold = len(text) if is_last else self._redactor.hold_from(text, at)
        while True:
            if self._swallow:
                at = self._swallow.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
                if at == len(text) and not is_last:
                    break
                self._swallow = None
            found = self._redactor.trigger.search(text, at)
            if at > hold:
                hold = self._redactor.hold_from(text, at)
            if found is None or found.start() >= hold:
                out.append(text[max(at, shown) : hold])
                at = hold
                break
            start = found.start()
            out.append(text[max(at, shown) : start])
            at = start
            decision = self._redactor.decide(text, found, is_last)
            if decision is None:
                break
            end, instead, self._swallow = decision
            if end:
                out.append(instead.removeprefix(text[start:shown]))
                at = end
            else:  # it is nothing: its first character is a character
                at = start + 1
                out.append(text[max(start, shown) : at])
        keep = max(at - 2, 0)
        self._text, self._at, self._shown = ("", 0, 0) if is_last else (text[keep:], at - keep, max(shown - keep, 0))
        return "".join(out)

    def peek(self) -> str:
        """Nothing came for a while: the first ``LEAD_CHARS`` of what is waited for, once."""
        if self._swallow:
            return ""
        start = max(self._at, self._shown)
        self._shown = max(start, min(self._at + LEAD_CHARS, len(self._text)))
        return self._text[start : self._shown]

    @property
    def held(self) -> int:
        """How many characters are waited for."""
        return len(self._text) - self._at


def secret_values(environment: Iterable[tuple[str, str]]) -> set[str]:
    """What is secret in an environment: by the name of its variable, or by its place in a URL or connection string."""
    found = set()
    for name, value in environment:
        for pattern in _IN_VALUES:
            for inner in pattern.findall(value):
                found |= {inner, unquote(inner)}
        if _SECRET_NAME.search(name) and not _IS_COUNT.fullmatch(f"{name}={value}"):
            found.add(value)
    return {value for value in found if len(value) >= MIN_SECRET_CHARS}


def _forms_of(secret: str) -> set[str]:
    """A secret as it is, as it stands in JSON, in a URL and as shells, Python and pages print it, and line by line."""
    raw = secret.encode("utf-8", "surrogateescape")
    clean = _BAD.sub("\ufffd", secret)
    addresses = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    forms = {clean, clean.strip(), *_in_json(clean), *_quoted(clean), *addresses, *map(lowered, addresses)}
    for line in map(str.strip, clean.splitlines()):
        # What frames a key tells nothing, and would hide from us that another key follows it.
        is_frame = _PEM_BEGIN.fullmatch(line) or _PEM_END.fullmatch(line)
        if any(map(str.isalnum, line)) and not is_frame:
            forms |= {line, *_in_json(line), *_quoted(line)}
    return {form for form in forms if len(form) >= MIN_SECRET_CHARS}


def _encoded(secret: str) -> set[str]:
    """A secret in hex, and in base64 wherever in a text it begins."""
    raw = secret.encode("utf-8", "surrogateescape")
    forms = {raw.hex(), raw.hex().upper()}
    for before in range(3):
        # What of it does not depend on its neighbours: they share a character with it at either end.
        encoded = base64.b64encode(b"\0" * before + raw).decode("ascii")
        inner = encoded[(0, 2, 3)[before] : (before + len(raw)) // 3 * 4]
        forms |= {inner, inner.replace("+", "-").replace("/", "_")} if len(inner) >= LEAST_BASE64 else set()
    forms.add(base64.b64encode(raw).decode("ascii").rstrip("="))
    forms.add(base64.urlsafe_b64encode(raw).decode("ascii").rstrip("="))
    return {form for form in forms if len(form) >= MIN_SECRET_CHARS}


def _quoted(text: str) -> set[str]:
    """The text as it is printed, and as that stands in JSON: a tool call holds what its command printed."""
    found = quoted(text)
    return found.union(*(_in_json(form, 1) for form in found))


def _in_json(text: str, depth: int = JSON_DEPTH) -> set[str]:
    """The text as it stands in JSON, and in JSON within that."""
    found, inner = set[str](), {text}
    for _ in range(depth):
        inner = {json.dumps(each, ensure_ascii=ascii_)[1:-1] for each in inner for ascii_ in (True, False)}
        found |= inner
    return found


def _trigger(literals: Iterable[str], private: Iterable[str], wrapped: WrappedForms) -> "re.Pattern[str]":
    """Where something may begin: a known value, the head of a token where a word begins, a path below a private root.

    Each branch begins with a plain character and looks back only after its head. So the engine passes over
    all other characters without trying anything, which makes it ten times as fast as looking back first.
    """
    branches = [re.escape(literal) for literal in literals]
    branches += [f"{re.escape(head)}(?<![{_WORD}]{re.escape(head)})" for head in (*_BY_HEAD, _JWT_HEAD)]
    branches += [f"{first}[eE][aA][rR][eE][rR](?<![{_WORD}].{{6}})" for first in "bB"]
    branches.append(_PEM_HEAD)
    roots = "|".join(sorted(map(re.escape, private), key=len, reverse=True)) or "(?!)"
    # A name that reaches the end of the text may go on in the next piece.
    follows = rf"(?=(?:{roots})/|[\w.@+~%#=\-]{{0,{_MAX_COMPONENT}}}\Z)"
    branches.append(rf"/(?:(?<![\w.~\-]/)|(?<=-[IL]/)){follows}")
    branches += wrapped.patterns()  # the last: what else begins there is known by its own branch
    return re.compile("|".join(branches), re.DOTALL)


def _is_word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _component(text: str, at: int) -> str:
    """The name in a path that begins at ``at``, as far as names go on this kind of file system."""
    return _COMPONENT.match(text, at, at + _MAX_COMPONENT)[0]  # type: ignore[index]  # it matches nothing, too


def _decide_pem(text: str, at: int, is_last: bool) -> _Decision | None:
    begun = _PEM_BEGIN.match(text, at)
    if not begun:
        return None if not is_last and _PEM_LINE.fullmatch(text, at) else _NOTHING
    limit = at + PEM_CHARS
    ended = _PEM_END.search(text, begun.end(), limit)
    if ended:
        return ended.end(), SECRET, None
    if len(text) >= limit:
        return limit, SECRET, None
    return (len(text), SECRET, None) if is_last else None
