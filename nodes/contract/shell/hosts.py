"""Which host a word of a command, or an input, names."""

import re

HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s\"'`<>|;)]*")
"""A URL somewhere in a text."""
_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//([^/?#]*)")
_PLAIN = re.compile(r"[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\]")
_SCHEMELESS = re.compile(r"([A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])?(:\d+)?(?:[/?#].*)?", re.DOTALL)
_COPY = re.compile(r"(?:([^@\s/:]+)@)?([A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\]):(?!//)")


def host_of(url: str) -> tuple[str, bool]:
    """The host of a URL, and whether that is sure: odd characters are read in one way here and in another there."""
    found = _AUTHORITY.match(url)
    if found is None:
        return "", False
    whole = found[1]
    authority = whole.rsplit("@", 1)[-1]
    host = re.sub(r":\d*$", "", authority)
    is_sure = bool(_PLAIN.fullmatch(host)) and "\\" not in whole and "%" not in whole and whole.count("@") < 2
    return host.lower().rstrip("."), is_sure or (not host and url.lower().startswith("file:"))


def host_named(word: str) -> tuple[str, bool]:
    """The host of a URL with or without its scheme, as ``curl`` takes it."""
    if "://" in word or word.startswith("//"):
        return host_of(word)
    if found := _SCHEMELESS.fullmatch(word.rsplit("@", 1)[-1] if "/" not in word.split("@", 1)[0] else word):
        return (found[1] or "localhost").lower().rstrip("."), "\\" not in word
    return "", False


def host_copied(word: str) -> str:
    """The host in ``user@host:path``, as ``scp`` and ``git`` take it; nothing for a local path."""
    found = _COPY.match(word)
    return found[2].lower() if found and (found[1] or len(found[2]) > 1) else ""
