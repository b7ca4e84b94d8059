"""Writing many entries of the trail at once: by plain SQL, since making a model of each takes longer than its row."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection

from .many import execute_many
from .models import AuditEvent


class Row(NamedTuple):
    """An entry as its columns hold it, in their order. ``data`` is JSON already."""

    id: UUID
    stream: str
    number: int
    name: str
    at: datetime
    actor_kind: str
    actor_id: str
    actor_label: str
    object_kind: str
    object_id: str
    project: UUID | None
    node: UUID | None
    run: UUID | None
    approval: UUID | None
    artifact: str
    address: str
    user_agent: str
    data: str


_UUIDS: Final = [Row._fields.index(name) for name in ("id", "project", "node", "run", "approval")]
_AT: Final = Row._fields.index("at")
_INSERT: Final = (
    f"INSERT INTO {AuditEvent._meta.db_table} ({', '.join(Row._fields)}) "  # noqa: S608
    f"VALUES ({', '.join('%s::jsonb' if name == 'data' else '%s' for name in Row._fields)})"
)


def insert_rows(rows: Sequence[Row]) -> None:
    """Within the transaction of what they are about."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            execute_many(cursor, _INSERT, rows)
        else:
            execute_many(cursor, _INSERT.replace("::jsonb", ""), list(_as_sqlite(rows)))


def _as_sqlite(rows: Sequence[Row]) -> Iterator[list[Any]]:
    """UUIDs and times as Django keeps them there."""
    times = {at: connection.ops.adapt_datetimefield_value(at) for at in {row.at for row in rows}}
    for row in rows:
        values: list[Any] = list(row)
        for index in _UUIDS:
            if values[index] is not None:
                values[index] = values[index].hex
        values[_AT] = times[row.at]
        yield values
