"""The event table's bulk insert: one statement for many rows on SQLite, ``COPY`` on PostgreSQL."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection

from .models import RunEvent


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
    with connection.cursor() as cursor, cursor.copy(f"COPY {_TABLE} ({','.join(COLUMNS)}) FROM STDIN") as copy:
        for event in events:
            copy.write_row(event)
