"""Reading the trail as what is hashed: texts, whatever the database keeps them as, and whatever was done to them."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from django.db import connection

from .models import AuditEvent
from .proof.chain import FIELDS, data_text, load_data

_TABLE: Final = AuditEvent._meta.db_table
_UUIDS: Final = [FIELDS.index(name) for name in ("id", "project", "node", "run", "approval")]
_AT: Final = FIELDS.index("at")
_DATA: Final = FIELDS.index("data")
NUMBER: Final = FIELDS.index("number")

_COLUMNS: Final = {
    # A text whatever was declared: Django's converters would stumble over what somebody wrote into the file.
    "sqlite": ", ".join(f"CAST({name} AS TEXT)" for name in FIELDS),
    "postgresql": ", ".join(
        "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')" if name == "at" else f"{name}::text"
        for name in FIELDS
    ),
}


def read_texts(stream: str, after: int, up_to: int, most: int) -> list[list[str]]:
    """Events of a stream in the order of their numbers, from ``after`` on, at most ``most``, as ``digest_of`` takes."""
    return _read(
        "stream = %s AND number > %s AND number <= %s ORDER BY audit_auditevent.number LIMIT %s",
        [stream, after, up_to, most],
    )


def read_strays(stream: str) -> list[list[str]]:
    """Events with numbers that the stream never gave; at most 1,000."""
    counted = "coalesce((SELECT last_number FROM audit_stream WHERE name = %s), 0)"
    return _read(
        f"stream = %s AND (number > {counted} OR number < 1) ORDER BY audit_auditevent.number LIMIT 1000",
        [stream, stream],
    )


def _read(where: str, values: Iterable[Any]) -> list[list[str]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS[connection.vendor]} FROM {_TABLE} WHERE {where}", list(values))  # noqa: S608
        rows = cursor.fetchall()
    return [_texts(row) for row in rows]


def _texts(row: tuple[str | None, ...]) -> list[str]:
    texts = ["" if value is None else value for value in row]
    if connection.vendor == "sqlite":
        for index in _UUIDS:
            if len(text := texts[index]) == 32:
                texts[index] = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
        at = texts[_AT].replace(" ", "T")
        texts[_AT] = f"{at}.000000Z" if len(at) == 19 else f"{at}Z"
    with suppress(ValueError, RecursionError):  # no JSON any more: as it stands, it does not fit what was sealed
        texts[_DATA] = data_text(load_data(texts[_DATA]))
    return texts
