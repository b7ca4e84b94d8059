"""Checkpoints kept beside the database, so that a database that was rewritten as a whole does not go unnoticed.

Each commits to all before it, so a line now and then is enough. One JSON object a line; lines are only ever added.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .chain import Checkpoint, Malformed
from .keys import append_line

FILE: Final = "checkpoints.ndjson"
_TAIL_BYTES: Final = 16 * 1024


def append_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Durably. Raises ``OSError``."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    append_line(path, checkpoint.as_json())


def last_checkpoint(path: Path) -> Checkpoint | None:
    """The last whole line; None if there is none. Raises ``OSError``."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            return Checkpoint.of(json.loads(line))
        except (ValueError, AttributeError):  # torn, by a crash within it
            continue
    return None


def read_checkpoints(path: Path, upto: int | None = None) -> Iterator[Checkpoint]:
    """All of a file (or of its first bytes) in its order, but torn lines. Raises ``OSError``, ``Malformed``."""
    with path.open("rb") as file:
        read = 0
        for number, line in enumerate(file, 1):
            read += len(line)
            if upto is not None and read > upto:
                return
            if not line.strip():
                continue
            try:
                yield Checkpoint.of(json.loads(line))
            except Malformed:
                raise
            except (ValueError, AttributeError):
                if line.endswith(b"}\n"):
                    raise Malformed(f"Line {number} of {path} is no checkpoint.") from None
