"""What an agent leaves to be looked at: files that it puts into the directory that ``AGENTHUB_ARTIFACTS`` names.

They leave the node when the run has ended and nothing of it is alive. Texts are redacted as a patch is; another file
with a secret in it stays behind, since nothing in it can be replaced without breaking it.
"""

import mimetypes
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from nodes.contract.events import ArtifactReady, BlobRef
from nodes.contract.limits import BLOB_BYTES

from .redaction import Redactor

VARIABLE: Final = "AGENTHUB_ARTIFACTS"
MOST: Final = 50
"""Files of a run; what comes later in the order of their names is left."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of a run, together."""
NAME_CHARS: Final = 300


class Left:
    """Collects what one run left: ``kept`` are the events, ``problems`` says what stayed behind, and why."""

    def __init__(self, directory: Path, redactor: Redactor, keep: Callable[[bytes], BlobRef]) -> None:
        self._directory = directory
        self._redactor = redactor
        self._keep = keep
        self._room = MOST_BYTES
        self.kept: list[ArtifactReady] = []
        self.problems: list[str] = []

    async def collect(self) -> None:
        for path in _files(self._directory):
            name = os.fsencode(path.relative_to(self._directory)).decode("utf-8", "replace")
            problem = "there are too many" if len(self.kept) >= MOST else await self._take(path, name)
            if problem:
                self.problems.append(f"{name[:NAME_CHARS]}: {problem}")

    async def _take(self, path: Path, name: str) -> str:
        """Keep one file. Why not, otherwise."""
        if len(name) > NAME_CHARS:
            return f"its name is longer than {NAME_CHARS} characters"
        data = _read(path)
        if data is None:
            return "it is no plain file that could be read"
        if len(data) > min(BLOB_BYTES, self._room):
            return f"it is too large: {BLOB_BYTES >> 20} MiB each, {MOST_BYTES >> 20} MiB together"
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            if any(secret.encode("utf-8", "replace") in data for secret in self._redactor.literals):
                return "it is no text, and holds a secret"
        else:
            data = (await self._redactor.long_excerpt(text)).encode("utf-8")[:BLOB_BYTES]
        self._room -= len(data)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.kept.append(ArtifactReady(name=name, media_type=kind, blob=self._keep(data)))
        return ""


def _files(directory: Path) -> Iterator[Path]:
    """All that lies there and is no directory, in the order of the names. Links lead nowhere."""
    for top, names, files in os.walk(directory):
        names.sort()
        links = [name for name in names if Path(top, name).is_symlink()]
        yield from (Path(top, name) for name in sorted([*files, *links]))


def _read(path: Path) -> bytes | None:
    """At most a little more than may be kept; None for a link, a pipe, a device, or what may not be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(BLOB_BYTES + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else None
