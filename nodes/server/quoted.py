"""How a text stands in what shells, Python and web pages print, where some of its characters are written otherwise."""

import html
import re

_PERCENT = re.compile(r"%[0-9A-F]{2}")
_BARE = re.compile(r"""([\s'"\\|&;()<>!{}*\[?\]^$`,])""")
"""What bash writes a backslash before, outside of quotes."""
_AT_START = re.compile(r"(^[#~]|(?<=[:=])~)")


def quoted(text: str) -> set[str]:
    """All of them, ``text`` itself among them where nothing in it is written otherwise."""
    return {*_by_shells(text), *_by_python(text), *_by_pages(text)}


def lowered(address: str) -> str:
    """A text as it stands in a URL, by those who write ``%2f`` for ``%2F``."""
    return _PERCENT.sub(lambda found: found[0].lower(), address)


def _by_shells(text: str) -> set[str]:
    """``export -p``; ``set`` and ``set -x``, of bash and of others; what bash writes as ``$'…'``; ``printf %q``."""
    bare = _BARE.sub(r"\\\1", text)
    escaped = text.replace("\\", "\\\\")
    return {
        re.sub(r'(["$`\\])', r"\\\1", text),
        text.replace("'", "'\\''"),
        text.replace("'", "'\"'\"'"),
        escaped.replace("'", "\\'"),
        escaped.replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t"),
        bare,
        _AT_START.sub(r"\\\1", bare),
    }


def _by_python(text: str) -> set[str]:
    """Within either kind of quotes, as text and as bytes."""
    both = "'\""  # so that it is the single ones that are escaped
    found = {
        repr(both + text)[4:-1],
        ascii(both + text)[4:-1],
        repr(both.encode() + text.encode("utf-8", "surrogateescape"))[5:-1],
    }
    return found | {each.replace("\\'", "'") for each in found}


def _by_pages(text: str) -> set[str]:
    escaped = html.escape(text, quote=False)
    quotes = {escaped.replace('"', double) for double in ('"', "&quot;", "&#34;")}
    return {each.replace("'", single) for each in quotes for single in ("'", "&#x27;", "&#39;")}
