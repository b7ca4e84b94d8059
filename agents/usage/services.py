"""Adds what runs tell of their usage to what is known, in the transaction that stores their events."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection

from ..models import Run
from .models import DayUsage, RunUsage
from .telling import Told

NOBODY: Final = UUID(int=0)
_FIELDS: Final = ("input_tokens", "output_tokens", "total_tokens", "cost_micros", "currency")
_KEY: Final = ("day", "project_id", "agent_id", "user_id", "model", "currency")
_SUMS: Final = (
    "input_tokens", "output_tokens", "total_tokens", "cost_micros", "unpriced_input", "unpriced_output",
    "unpriced_total",
)  # fmt: skip
_AT_ONCE: Final = 50

Key = tuple[date, UUID, UUID, UUID, str, str]


def note_usage(told: Mapping[UUID, Told], now: datetime) -> None:
    """Raise the runs' figures to what they tell, and the day's sums by the difference. A repeat adds nothing.

    Inside the transaction that has locked the runs; four statements, and one for each 50 sums.
    """
    if not told:
        return
    known = {row.run_id: row for row in RunUsage.objects.filter(run__in=told)}
    runs = Run.objects.filter(pk__in=told).order_by().values_list(
        "pk", "project", "agent", "user", "agent__model", "agent__preset", "agent__runtime"
    )  # fmt: skip
    rows: list[RunUsage] = []
    sums: dict[Key, list[int]] = defaultdict(lambda: [0] * len(_SUMS))
    day = now.astimezone(UTC).date()
    for run, project, agent, user, model, preset, runtime in runs:
        row = known.get(run)
        before = Told(*(getattr(row, name) for name in _FIELDS)) if row else Told()
        after = before.raised_by(told[run])
        if after == before:
            continue
        name = row.model if row else model or f"{preset or runtime}:default"
        figures = {name: getattr(after, name) for name in _FIELDS}
        rows.append(RunUsage(run_id=run, project_id=project, model=name, updated_at=now, **figures))
        for sign, share in ((-1, before), (1, after)):
            into = sums[day, project, agent, user or NOBODY, name, share.currency]
            for place, value in enumerate(share.shares()):
                into[place] += sign * value
    RunUsage.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["run"], update_fields=[*_FIELDS, "updated_at"]
    )
    _add({key: values for key, values in sums.items() if any(values)})


def _add(sums: Mapping[Key, list[int]]) -> None:
    """In the order of their keys, so that two writers lock the rows alike."""
    table, names = DayUsage._meta.db_table, (*_KEY, *_SUMS)
    fields: dict[str, Any] = {each.name: each for each in DayUsage._meta.concrete_fields}
    columns = [fields[name] for name in names]
    raised = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in _SUMS)
    ordered = sorted(sums.items(), key=lambda item: tuple(map(str, item[0])))
    row = f"({', '.join(['%s'] * len(names))})"
    with connection.cursor() as cursor:
        for start in range(0, len(ordered), _AT_ONCE):
            part = [(*key, *values) for key, values in ordered[start : start + _AT_ONCE]]
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join([row] * len(part))} "  # noqa: S608
                f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {raised}",
                [
                    column.get_db_prep_value(value, connection)
                    for values in part
                    for column, value in zip(columns, values, strict=True)
                ],
            )
