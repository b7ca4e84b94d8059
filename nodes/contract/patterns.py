"""The patterns of rules: globs over paths, commands, hosts and names.

A pattern that allows is read narrowly and one that restricts broadly (``broad``): what
looks alike in another case, below a directory that is named, or under any directory when
only a file's name is given.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

DEEP, WILD = 3, 12
"""How many ``**`` and stars of any sort a path's pattern may have: what an agent names must be matched soon."""
_STARS = re.compile(r"\*+/?")


def _tokens(pattern: str, one: str) -> Iterator[str]:
    """The stars as they stand (``**/`` as one), and between them regular expressions of single characters."""
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if stars := _STARS.match(pattern, at):
            is_directory = stars[0] == "**/" and (at == 0 or pattern[at - 1] == "/")
            yield stars[0] if is_directory else stars[0].rstrip("/")
            at = stars.end() - (0 if is_directory else stars[0].count("/"))
            continue
        end = pattern.find("]", at + 2) if character == "[" else -1
        if end > 0:
            inside = pattern[at + 1 : end]
            is_negated = inside[0] in "!^" and len(inside) > 1
            members = re.sub(r"([\\\[^&~|])", r"\\\1", inside[1:] if is_negated else inside)
            yield f"[{'^' if is_negated else ''}{members}]"
            at = end + 1
            continue
        yield one if character == "?" else re.escape(character)
        at += 1


@lru_cache(maxsize=4_096)
def _text(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    """Without going back: after each star the first fit of what follows is as good as any other."""
    fixed = [""]
    for token in _tokens(pattern, one="."):
        if token.startswith("*"):
            fixed.append(re.escape("/") if token.endswith("/") else "")
        else:
            fixed[-1] += token
    first, *rest = fixed
    tail = "".join(f"(?>.*?{piece})" for piece in rest[:-1] if piece) + (f".*{rest[-1]}" if rest else "")
    return re.compile(first + tail, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


@lru_cache(maxsize=4_096)
def _path(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    stars = {"*": "[^/]*", "**/": "(?:.*/)?"}
    found = [stars.get(token, ".*") if token[0] == "*" else token for token in _tokens(pattern, one="[^/]")]
    below = "(?:/.*)?" if ignore_case else ""
    return re.compile("".join(found) + below, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def literal(text: str) -> str:
    """The pattern that matches ``text`` and nothing else."""
    return re.sub(r"([*?\[])", r"[\1]", text)


def problem(pattern: str) -> str:
    """Why this cannot be a pattern, or nothing."""
    if any(ord(character) < 32 for character in pattern.replace("\n", "").replace("\t", "")):
        return "It has control characters in it."
    stars = [found[0] for found in _STARS.finditer(pattern)]
    if len(stars) > WILD or sum(found.startswith("**") for found in stars) > DEEP:
        return f"It has more than {WILD} stars or {DEEP} double stars."
    try:
        _text(pattern, False)
        _path(pattern, False)
    except re.error as error:
        return f"It is no pattern: {error}."
    return ""


def text_matches(pattern: str, text: str, *, broad: bool) -> bool:
    """A command or a name; ``*`` crosses everything. ``git push*`` is any push, ``git push *`` one with arguments."""
    return _text(pattern, broad).fullmatch(text) is not None


def host_matches(pattern: str, host: str, *, broad: bool) -> bool:
    """Case never counts. ``*.example.com`` restricts example.com as well."""
    host, pattern = host.lower().rstrip("."), pattern.lower().rstrip(".")
    if _text(pattern, True).fullmatch(host):
        return True
    return broad and pattern.startswith("*.") and host == pattern[2:]


def path_matches(pattern: str, path: str, inside: str, *, broad: bool) -> bool:
    """``path`` is absolute and resolved, ``inside`` the same within the workspace ("" if it is outside of it).

    ``/etc/**`` and the like are absolute; a pattern without a slash is a file's name, at any depth; any other is
    relative to the workspace, and ``./name`` is that one file. What restricts matches a name outside of the workspace
    too, and what lies below.
    """
    is_here, pattern = pattern.startswith("./"), pattern.removeprefix("./")
    if pattern.endswith("/"):
        pattern += "**"
    if broad and pattern.endswith("/**"):
        pattern = pattern[:-3]  # the directory itself, and what is below it
    if pattern.startswith("~/"):  # nobody said whose home: any
        return broad and _path(f"**/{pattern[2:]}", True).fullmatch(path) is not None
    if pattern.startswith("/"):
        return _path(pattern, broad).fullmatch(path) is not None
    if "/" not in pattern and not is_here:
        pattern = f"**/{pattern}"
    if inside and _path(pattern, broad).fullmatch(inside):
        return True
    return broad and pattern.startswith("**/") and _path(pattern, True).fullmatch(path) is not None


def may_be_under(pattern: str, path: str, inside: str) -> bool:
    """Whether something that ``pattern`` restricts could lie in the directory ``path``."""
    pattern = pattern.removeprefix("./")
    if pattern.startswith("/"):
        base, head = path, pattern
    elif "/" not in pattern or pattern.startswith(("~", "**/")):
        return True
    else:
        if not inside:
            return False
        base, head = inside, pattern
    prefix = re.split(r"[*?\[]", head, maxsplit=1)[0].lower()
    base = base.lower()
    if base in (".", "/"):
        return True
    return f"{prefix}/".startswith(f"{base}/") or f"{base}/".startswith(prefix)
