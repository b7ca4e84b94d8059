"""One statement for many rows of values, each row in its turn."""

from collections.abc import Sequence
from typing import Any

from django.db import connection


def execute_many(cursor: Any, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """``cursor.executemany``, on PostgreSQL as one message with all statements in it.

    psycopg's own sends a Flush behind the Sync, and that disarms ``idle_in_transaction_session_timeout``: a process
    that is stopped just then would keep its locks until it is woken or killed.
    """
    if connection.vendor != "postgresql":
        cursor.executemany(statement, rows)
    elif rows:
        cursor.execute(";".join(cursor.mogrify(statement, row) for row in rows))
