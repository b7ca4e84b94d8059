"""How many approvals wait for somebody, live: the bell rings, the database is read anew, and the number is told.

No frame says more than that. What waits is read by REST, under the rules that hold there.
"""

import asyncio
import time
from typing import Any, Final

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.admission import Caller
from audit.bell import bell

from .queries import open_approvals
from .reading import in_thread
from .services.approval_bell import STREAM
from .stream import GUARD_SECONDS, HEARTBEAT_SECONDS

PACE_SECONDS: Final = 0.2
"""A reader is told at most once in this time; what happens meanwhile is told together."""


def count_open(actor: Actor) -> int:
    return open_approvals(actor).count()


_reads: dict[tuple[str, str, int], asyncio.Task[int]] = {}


async def _shared_count(actor: Actor, heard: int) -> int:
    """One read for all readers of the same person (and token) that heard the same."""
    key = (actor.id, str(actor.token and actor.token.id), heard)
    task = _reads.get(key)
    if task is None:
        task = _reads[key] = asyncio.create_task(in_thread(count_open, actor))
        task.add_done_callback(lambda _: _reads.pop(key, None))
    return await asyncio.shield(task)


class ApprovalsReader:
    """One reader of the number that waits for its caller. ``next`` until it answers None."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._heard = 0
        self._told_at = 0.0
        self._is_due = True

    async def next(self) -> dict[str, Any] | None:
        """``{"approvals": {"waiting": 3}}`` at first and whenever something changed, ``{"heartbeat": …}`` every 15 s.

        The heartbeat has the number as well: time alone offers a question, or ends it. None: this process is stopping.
        Raises ``Unauthenticated`` within seconds of the credential's end.
        """
        beat_at = time.monotonic() + HEARTBEAT_SECONDS
        while not bell.is_closed:
            if self._is_due:
                await asyncio.sleep(max(0.0, self._told_at + PACE_SECONDS - time.monotonic()))
                return await self._tell("approvals")
            now = time.monotonic()
            if now >= beat_at:
                return await self._tell("heartbeat")
            heard = await bell.wait(STREAM, self._heard, min(beat_at - now, GUARD_SECONDS))
            self._is_due, self._heard = heard > self._heard, heard
            await self._caller.now()
        return None

    async def _tell(self, name: str) -> dict[str, Any]:
        actor = await self._caller.now()
        self._is_due, self._told_at = False, time.monotonic()
        return {name: {"waiting": await _shared_count(actor, self._heard)}}
