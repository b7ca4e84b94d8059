"""The event table's bulk insert: one statement for many rows on SQLite, ``COPY`` on PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog
from django.db import connection

from .models import RunEvent

logger = structlog.get_logger(__name__)


class NewEvent(NamedTuple):
    """A row of ``RunEvent``, in the order of ``COLUMNS``. ``payload`` is JSON text."""

    run_id: UUID
    seq: int
    generation: int
    origin_seq: int | None
    type: str
    version: int
    occurred_us: int
    recorded_us: int
    payload: str


COLUMNS: Final = NewEvent._fields
_TABLE: Final = RunEvent._meta.db_table
_ROWS_PER_STATEMENT: Final = 500
_COPY: Final = f"COPY {_TABLE} ({','.join(COLUMNS)}) FROM STDIN"
COPY_SECONDS: Final = 30.0
"""Longer than 500 rows take, over a slow wire too."""


def insert_events(events: Sequence[NewEvent]) -> None:
    """Insert all, inside the caller's transaction. One statement per 500 rows."""
    if connection.vendor == "postgresql":
        _copy(events)
        return
    with connection.cursor() as cursor:
        for start in range(0, len(events), _ROWS_PER_STATEMENT):
            part = events[start : start + _ROWS_PER_STATEMENT]
            values: list[Any] = []
            for event in part:
                values.append(event[0].hex)
                values.extend(event[1:])
            # Through the raw cursor: Django would rewrite and copy 4,500 placeholders for every statement.
            cursor.cursor.execute(_insert_statement(len(part)), values)


@cache
def _insert_statement(rows: int) -> str:
    row = f"({','.join('?' * len(COLUMNS))})"
    return f"INSERT INTO {_TABLE} ({','.join(COLUMNS)}) VALUES {','.join([row] * rows)}"  # noqa: S608  (constants only)


def _copy(events: Sequence[NewEvent]) -> None:
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for event in events:
            copy.write_row(event)


def end_frozen_copies(_now: datetime) -> int:
    """End the connections of whoever was stopped in the middle of a ``COPY`` and holds its runs' locks; how many.

    No time-out of PostgreSQL ends those: to the server they are at work, and wait for the rest of the rows.
    """
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
            "AND usename = current_user AND state = 'active' AND wait_event = 'ClientRead' AND query = %s "
            "AND state_change < clock_timestamp() - make_interval(secs => %s)",
            [_COPY, COPY_SECONDS],
        )
        ended: int = cursor.fetchone()[0]
    if ended:
        logger.warning("ingest.frozen_copies_ended", count=ended)
    return ended
