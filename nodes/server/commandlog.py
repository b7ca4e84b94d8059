"""The commands of one run with their answers: an append-only file of JSON lines.

The node server appends what it accepted or rejected; the supervisor appends what it
applied. Both append whole lines in one write, so the two never mix. A line that was
cut off by a crash was never answered, and is skipped.
"""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import PRIVATE_FILE, sync_dir, write_durably

_WRITING = threading.Lock()
"""The file is replaced once its run has ended. By then no supervisor writes, but threads of this process may."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub is told about a command, every time it asks.

    ``code`` says why it was rejected, or what there is to know of one that was accepted.
    """

    accepted: bool
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command to be applied; ``body`` is that of ``nodes.contract.commands``."""

    id: str
    kind: str
    body: dict[str, Any]


class CommandLog:
    """The file is read at every use: it is short, and two processes write it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def accept(self, id_: str, kind: str, body: dict[str, Any], code: str = "") -> Answer:
        """On stable storage when this returns. A repeat gets the stored answer and writes nothing."""
        if (known := self.answer_of(id_)) is not None:
            return known
        self._append({"id": id_, "kind": kind, "body": body, "accepted": True, "code": code}, sync=True)
        return Answer(True, code)

    def reject(self, id_: str, code: str, message: str) -> Answer:
        """As ``accept``, with the reason."""
        if (known := self.answer_of(id_)) is not None:
            return known
        self._append({"id": id_, "accepted": False, "code": code, "message": message}, sync=True)
        return Answer(False, code, message)

    def mark_applied(self, id_: str, code: str = "") -> None:
        """The supervisor has dealt with it. Not synced: a supervisor that is gone applies nothing anyway."""
        self._append({"applied": id_, "code": code}, sync=False)

    def answer_of(self, id_: str) -> Answer | None:
        for line in self._lines():
            if line.get("id") == id_:
                return Answer(line["accepted"], line.get("code", ""), line.get("message", ""))
        return None

    def pending(self) -> list[Accepted]:
        """Accepted and not applied, in the order they came."""
        waiting: dict[str, Accepted] = {}
        for line in self._lines():
            if line.get("accepted") and "body" in line:
                waiting[line["id"]] = Accepted(line["id"], line["kind"], line["body"])
            elif "applied" in line:
                waiting.pop(line["applied"], None)
        return list(waiting.values())

    def has_bodies(self) -> bool:
        """Whether ``forget_bodies`` would forget anything."""
        return any("body" in line for line in self._lines())

    def forget_bodies(self) -> None:
        """Keep the ids and the answers only: what was asked of an ended run holds prompts, and nobody needs it."""
        with _WRITING:
            kept = [
                {key: line[key] for key in ("id", "accepted", "code", "message") if key in line}
                for line in self._lines()
                if "id" in line
            ]
            if self._path.exists():
                write_durably(self._path, b"".join(json.dumps(line).encode() + b"\n" for line in kept))

    def _append(self, line: dict[str, Any], *, sync: bool) -> None:
        # The newline comes first as well as last: it closes a line that a crash cut off.
        data = b"\n" + json.dumps(line).encode() + b"\n"
        with _WRITING:
            is_new = not self._path.exists()
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE_FILE)
            try:
                if os.write(fd, data) != len(data):
                    raise OSError(f"{self._path} took only a part of a line")
                if sync:
                    os.fdatasync(fd)
            finally:
                os.close(fd)
        if is_new and sync:
            sync_dir(self._path.parent)

    def _lines(self) -> list[dict[str, Any]]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        found = []
        for raw in data.split(b"\n"):
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if isinstance(line, dict):
                found.append(line)
        return found
