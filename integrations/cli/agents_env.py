"""The files of agent-hub-mcp: ``agents.env`` with its tokens. Standard library only."""

import re
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class BadFile(Exception):
    """It cannot be read; the message says which line, and never a token."""


def read_agents_env(path: Path) -> dict[str, str]:
    """Agent → token, of lines ``AGENT_ID=TOKEN``; ``#`` begins a comment, and quotes around a token are left out.

    Raises ``BadFile``.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadFile(f"{path} cannot be read: {reason}.") from error
    tokens: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, token = (part.strip() for part in line.partition("="))
        if len(token) >= 2 and token[0] == token[-1] and token[0] in "\"'":
            token = token[1:-1]
        if not (equals and token and _NAME.fullmatch(name)):
            raise BadFile(f"{path}, line {number}: write AGENT_ID=TOKEN, with an id of letters, digits, '.', '_', '-'.")
        if name in tokens:
            raise BadFile(f"{path}, line {number}: {name} is there twice.")
        tokens[name] = token
    if not tokens:
        raise BadFile(f"{path} has no agents in it: write lines of AGENT_ID=TOKEN.")
    return tokens
