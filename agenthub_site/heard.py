"""What this process's links hear of their nodes, written for all of them at once: one transaction, not one each."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from audit.many import execute_many
from nodes.leases import HeldLease
from nodes.models import LinkLease, Node

from .database_threads import DatabaseThreads

logger = structlog.get_logger(__name__)

WRITE_SECONDS: Final = 0.5
"""How long news of a node wait for those of others."""
AWAY_SECONDS: Final = 2.0
"""How long they wait besides for a database that is not there."""
_FIELDS: Final = {field.name: field for field in Node._meta.concrete_fields}


@dataclass(frozen=True, slots=True)
class News:
    """Columns of a node's row, as of ``heard_at`` by the hub's clock, from the link that holds ``lease``."""

    lease: HeldLease
    heard_at: datetime
    columns: dict[str, Any]


class Heard:
    """Collects and writes. What an older owner of a link heard is dropped."""

    def __init__(self, database: DatabaseThreads) -> None:
        self._database = database
        self._waiting: dict[UUID, News] = {}
        self._writer: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    def note(self, lease: HeldLease, **columns: Any) -> None:
        """The node was heard just now, and said so. Written within a moment; while the database is away, later."""
        former = self._waiting.get(lease.node_id)
        kept = former.columns if former and former.lease == lease else {}
        self._waiting[lease.node_id] = News(lease, timezone.now(), {**kept, **columns})
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="heard")

    async def flush(self) -> bool:
        """Write what waits. Without the database it goes on waiting, and the answer is False."""
        async with self._one_at_a_time:
            if not self._waiting:
                return True
            taken, self._waiting = self._waiting, {}
            try:
                await self._database.run(store_news, list(taken.values()))
            except DatabaseError as error:
                logger.warning("heard.not_written", nodes=len(taken), error=str(error))
                self._waiting = {**taken, **self._waiting}  # the newer ones stay
                return False
            return True

    async def aclose(self) -> None:
        """Write no more."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(WRITE_SECONDS)
            if not await self.flush():
                await asyncio.sleep(AWAY_SECONDS)


def store_news(news: list[News]) -> None:
    """Write what is from links that are still owned: one statement for all that bring the same columns."""
    nodes = {one.lease.node_id for one in news}
    with transaction.atomic():
        locked = Node.objects.select_for_update(no_key=True).filter(pk__in=nodes).order_by("pk")
        list(locked.values_list("pk", flat=True))  # in the order in which others lock several
        leases = LinkLease.objects.filter(pk__in=nodes, expires_at__gte=Now())
        held = set(leases.values_list("node_id", "owner", "epoch"))
        rows: dict[tuple[str, ...], list[list[Any]]] = defaultdict(list)
        for one in news:
            if (one.lease.node_id, one.lease.owner, one.lease.epoch) in held:
                columns = {"last_heard_at": one.heard_at, **one.columns}
                rows[tuple(columns)].append([*(_as_stored(*each) for each in columns.items()), _key(one.lease.node_id)])
        with connection.cursor() as cursor:
            for names, values in rows.items():
                execute_many(cursor, _update_statement(names), values)


@cache
def _update_statement(names: tuple[str, ...]) -> str:
    columns = ", ".join(f'"{_FIELDS[name].column}" = %s' for name in names)
    return f'UPDATE "{Node._meta.db_table}" SET {columns} WHERE "id" = %s'  # noqa: S608  (fields' names only)


def _as_stored(name: str, value: Any) -> Any:
    return _FIELDS[name].get_db_prep_save(value, connection)


def _key(node_id: UUID) -> Any:
    return Node._meta.pk.get_db_prep_value(node_id, connection)
