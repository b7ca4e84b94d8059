"""The leases of all links of this process, renewed together: two statements for any number, not one for each."""

import asyncio
from typing import Final

import structlog
from django.db import DatabaseError

from nodes.leases import RENEW_SECONDS, HeldLease, LeaseLost, renew_leases

from .database_threads import DatabaseThreads

logger = structlog.get_logger(__name__)

AGAIN_SECONDS: Final = 1.0
"""Before the next attempt, while the database is not there."""


class Renewals:
    """``keep`` a lease for as long as it is held; a task renews all that are kept, and rests when there are none."""

    def __init__(self, database: DatabaseThreads) -> None:
        self._database = database
        self._kept: dict[HeldLease, asyncio.Future[None]] = {}
        self._renewer: asyncio.Task[None] | None = None

    async def keep(self, lease: HeldLease) -> None:
        """Until cancelled. Raises ``LeaseLost`` once it has run out or was taken: the link must be cut."""
        lost = self._kept[lease] = asyncio.get_running_loop().create_future()
        if self._renewer is None or self._renewer.done():
            self._renewer = asyncio.create_task(self._renew(), name="renewals")
        try:
            await lost
        finally:
            self._kept.pop(lease, None)

    async def aclose(self) -> None:
        if self._renewer is not None:
            self._renewer.cancel()
            await asyncio.gather(self._renewer, return_exceptions=True)

    async def _renew(self) -> None:
        seconds = RENEW_SECONDS
        while self._kept:
            await asyncio.sleep(seconds)
            try:
                lost = await self._database.run(renew_leases, list(self._kept))
                seconds = RENEW_SECONDS
            except DatabaseError as error:
                logger.warning("renewals.database_unavailable", leases=len(self._kept), error=str(error))
                seconds = AGAIN_SECONDS
                continue
            for lease in lost:
                future = self._kept.get(lease)
                if future is not None and not future.done():
                    future.set_exception(LeaseLost())
