"""What the agent remembers of its sessions: their prompts, for as long as the machine keeps its temporary files."""

import json
import os
import re
import secrets
import tempfile
from pathlib import Path

_ID = re.compile(r"scripted-[0-9a-f]{16}")


def new_id() -> str:
    return f"scripted-{secrets.token_hex(8)}"


def remember(session: str, prompt: str) -> None:
    """Write down a turn's prompt. A session that cannot be kept is one that cannot be taken up again."""
    try:
        _directory().mkdir(mode=0o700, exist_ok=True)
        with _file(session).open("a", encoding="utf-8") as kept:
            kept.write(json.dumps(prompt) + "\n")
    except OSError:
        return


def recall(session: str) -> list[str] | None:
    """The session's prompts, the oldest first; None of a session that is not known here."""
    if not _ID.fullmatch(session):
        return None
    try:
        return [json.loads(line) for line in _file(session).read_text("utf-8").splitlines()]
    except (OSError, ValueError):
        return None


def _directory() -> Path:
    return Path(tempfile.gettempdir(), f"agenthub-scripted-{os.getuid()}")


def _file(session: str) -> Path:
    return _directory() / f"{session}.jsonl"
