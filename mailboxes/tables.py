"""Rows without objects: many in one statement, and statements that are not built anew each time they are run.

To build a statement takes Django longer than a database takes to run it; what every message passes is written out.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, models

from audit.many import execute_many

T = TypeVar("T")
_UUID: "models.UUIDField[Any, Any]" = models.UUIDField()


def insert_rows(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert ``rows`` of values of the fields ``names``, within the caller's transaction."""
    by_name = {field.name: field for field in model._meta.concrete_fields}
    fields = [by_name[name] for name in names]
    columns = ", ".join(str(field.column) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    prepare = [field.get_db_prep_save for field in fields]
    values = [[to_db(value, connection) for to_db, value in zip(prepare, row, strict=True)] for row in rows]
    with connection.cursor() as cursor:
        execute_many(
            cursor,
            f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({places})",  # noqa: S608  (constants only)
            values,
        )


def run_query(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows, as the database's driver gives them."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def places(values: Sequence[Any]) -> str:
    """Of a list in a statement; an empty one holds nothing."""
    return ", ".join(["%s"] * len(values)) or "NULL"


def uuid_to_db(value: UUID) -> Any:
    return _UUID.get_db_prep_value(value, connection)


def uuid_of_db(value: Any) -> UUID:
    """SQLite keeps its digits."""
    return value if isinstance(value, UUID) else UUID(value)


def time_to_db(value: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(value)


def time_of_db(value: Any) -> datetime:
    """SQLite keeps it as text, in UTC; a column that is read as it is comes as a time without a zone."""
    at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def maybe(convert: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else convert(value)
