"""The files of agent-hub-mcp: ``agents.env`` with its tokens. Standard library only."""

import grp
import os
import pwd
import re
import shlex
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EXPORT: Final = re.compile(r"^export\s+")
_QUOTED: Final = re.compile(r"""(["'])(.*)\1(?:\s+#.*)?""")
_COMMENT: Final = re.compile(r"(?:^|\s+)#.*")
MOST_BYTES: Final = 1024 * 1024


class BadFile(Exception):
    """It cannot be read; the message says which line, and never a token."""


def read_own(path: Path) -> str:
    """The text of a file that nobody else can change. Raises ``BadFile``."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            data = file.read(MOST_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadFile(f"{path} cannot be read: {reason}.") from error
    if found.st_uid not in {os.geteuid(), 0}:
        raise BadFile(f"{path} belongs to another user, who can change it. Make a copy of your own.")
    if found.st_mode & 0o002 or (found.st_mode & 0o020 and not _is_private(found)):
        raise BadFile(f"{path} can be changed by others. Do: chmod go-w {shlex.quote(str(path))}")
    if len(data) > MOST_BYTES:
        raise BadFile(f"{path} is larger than {MOST_BYTES // 1024} KiB.")
    return text


def why_exposed(path: Path) -> str:
    """What to tell of a file of tokens that others can read; empty if nobody can. As the package made it, they can."""
    found = path.stat()
    readers = 0o004 if _is_private(found) else 0o044
    if not found.st_mode & readers:
        return ""
    return f"{path} has tokens in it, and others on this machine can read it. Do: chmod 600 {shlex.quote(str(path))}"


def _is_private(found: os.stat_result) -> bool:
    """Whether the file's group is its owner's own, as where each account has a group of its name."""
    try:
        owner, group = pwd.getpwuid(found.st_uid), grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    return owner.pw_name == group.gr_name and set(group.gr_mem) <= {owner.pw_name}


def read_agents_env(path: Path, *, may_be_empty: bool = False) -> dict[str, str]:
    """Agent → token, of lines ``AGENT_ID=TOKEN``, before which ``export`` may stand.

    A ``#`` at the beginning, or after a space, begins a comment; quotes around a token are left out, and within them
    it is a part of it. Raises ``BadFile``.
    """
    text = read_own(path)
    tokens: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, said = (part.strip() for part in _EXPORT.sub("", line).partition("="))
        token = _token(said)
        if not (equals and token and _NAME.fullmatch(name)):
            raise BadFile(f"{path}, line {number}: write AGENT_ID=TOKEN, with an id of letters, digits, '.', '_', '-'.")
        if name in tokens:
            raise BadFile(f"{path}, line {number}: {name} is there twice.")
        tokens[name] = token
    if not tokens and not may_be_empty:
        raise BadFile(f"{path} has no agents in it: write lines of AGENT_ID=TOKEN.")
    return tokens


def _token(said: str) -> str:
    quoted = _QUOTED.fullmatch(said)
    return quoted[2] if quoted else _COMMENT.sub("", said, count=1)
