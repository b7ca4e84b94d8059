"""A project's audit trail, read live: what lists and dashboards refresh by.

Who may read the trail (``audit:view``) gets all of it. Other members get what they see of the project anyway: that
something became of a run, an approval or an agent, and not who did it.
"""

import asyncio
import time
from typing import Any, Final
from uuid import UUID

from agenthub_site.accounts.admission import Caller
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, may
from audit.bell import bell
from audit.models import AuditEvent, Stream
from nodes.contract.errors import NotFound

from .reading import in_thread
from .stream import GUARD_SECONDS, HEARTBEAT_SECONDS

BATCH: Final = 200
_FOR_ALL: Final = ("run.", "approval.", "agent.")
_FIELDS: Final = (
    "number", "name", "at", "run", "approval", "actor_kind", "actor_id", "actor_label", "object_kind", "object_id",
)  # fmt: skip


def read_trail_end(project_id: UUID) -> int:
    """The last number of the project's trail. Raises ``NotFound``."""
    number = Stream.objects.filter(pk=f"project:{project_id}").values_list("last_number", flat=True).first()
    if number is None and not Project.objects.filter(pk=project_id).exists():
        raise NotFound()
    return number or 0


def read_trail(project_id: UUID, after: int) -> list[dict[str, Any]]:
    """The next entries after ``after``, for who may read the trail."""
    entries = AuditEvent.objects.filter(stream=f"project:{project_id}", number__gt=after).order_by("number")
    return [
        {
            "number": number,
            "name": name,
            "at": at.isoformat().replace("+00:00", "Z"),
            "run": str(run) if run else None,
            "approval": str(approval) if approval else None,
            "actor": {"kind": kind, "id": id_, "label": label},
            "object": {"kind": object_kind, "id": object_id},
        }
        for number, name, at, run, approval, kind, id_, label, object_kind, object_id in entries.values_list(*_FIELDS)[
            :BATCH
        ]
    ]


def for_members(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of ``entries``, what every member may know."""
    return [
        {name: value for name, value in entry.items() if name != "actor"}
        for entry in entries
        if entry["name"].startswith(_FOR_ALL)
    ]


_reads: dict[tuple[UUID, int, int], asyncio.Task[list[dict[str, Any]]]] = {}


async def _shared_read(project_id: UUID, after: int, heard: int) -> list[dict[str, Any]]:
    """One read for all readers that stand at the same place and heard the same."""
    key = (project_id, after, heard)
    task = _reads.get(key)
    if task is None:
        task = _reads[key] = asyncio.create_task(in_thread(read_trail, project_id, after))
        task.add_done_callback(lambda _: _reads.pop(key, None))
    return await asyncio.shield(task)


class TrailReader:
    """One reader's way through a project's trail. ``next`` until it answers None."""

    def __init__(self, project_id: UUID, after: int, caller: Caller) -> None:
        self._project_id = project_id
        self._stream = f"project:{project_id}"
        self._position = after
        self._caller = caller
        self._is_whole = may(caller.actor, Can.VIEW_AUDIT, project_id)
        self._beat_at = time.monotonic()
        self._guard_at = time.monotonic() + GUARD_SECONDS
        self._heard = after + 1

    async def next(self) -> dict[str, Any] | None:
        """``{"events": […]}``, or ``{"heartbeat": …}`` at the start and every 15 s. None: this process is stopping."""
        while not bell.is_closed:
            now = time.monotonic()
            if now >= self._guard_at:
                self._guard_at = now + GUARD_SECONDS
                actor = await self._caller.check(self._project_id)
                self._is_whole = may(actor, Can.VIEW_AUDIT, self._project_id)
            if now >= self._beat_at:
                self._beat_at = now + HEARTBEAT_SECONDS
                return {"heartbeat": {"project": str(self._project_id), "number": self._position}}
            if self._heard > self._position:
                entries = await _shared_read(self._project_id, self._position, self._heard)
                if entries:
                    self._position = entries[-1]["number"]
                    self._heard = max(self._heard, self._position + (len(entries) == BATCH))
                    if shown := entries if self._is_whole else for_members(entries):
                        return {"events": shown}
                    continue
                bell.correct(self._stream, self._position)
            wait = min(self._beat_at, self._guard_at) - now
            self._heard = await bell.wait(self._stream, self._position, wait)
        return None
