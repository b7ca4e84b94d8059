"""How the database finds what it is asked for: its plans, as they are with tables that are worth an index."""

from collections.abc import Callable
from typing import Any

from django.db import connection, transaction
from django.db.models import Model, QuerySet


def know(model: type[Model]) -> None:
    """Let PostgreSQL look at how many rows there are, as it does by itself in time."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {model._meta.db_table}")


def plan_of(rows: QuerySet[Any]) -> str:
    return _explained(*rows.query.sql_with_params())


def plans_of(ask: Callable[[], object]) -> list[str]:
    """Of each SELECT that ``ask`` makes, in order."""
    asked: list[tuple[str, Any]] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT"):
            asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        ask()
    return [_explained(sql, params) for sql, params in asked]


def _explained(sql: str, params: Any) -> str:
    is_postgresql = connection.vendor == "postgresql"
    with transaction.atomic(), connection.cursor() as cursor:
        if is_postgresql:  # small tables are read whole and sorted, which says nothing
            for way in ("seqscan", "bitmapscan", "sort"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(f"EXPLAIN {'' if is_postgresql else 'QUERY PLAN '}{sql}", params)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())
