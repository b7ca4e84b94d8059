"""The newest rows of several projects together, at the cost of a page and not of all their histories.

SQLite finds the newest rows of one project by an index. Of several it reads and sorts whatever these ever had.
PostgreSQL, which keeps count of what fits, finds them by itself, and is left to it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import F, Model, OuterRef, QuerySet, Subquery

from .models import Project

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Parts:
    """What rows fall into: ``column`` has the primary key of one ``of`` these, and an index with the rows' own."""

    column: str
    of: "QuerySet[Any]"


def projects_apart(projects: Collection[UUID]) -> Parts | None:
    """Rows by project. None for a single one, whose index serves as it is."""
    return Parts("project_id", Project.objects.filter(pk__in=projects)) if len(projects) > 1 else None


def newest(rows: "QuerySet[M]", parts: Parts | None, most: int, *, from_oldest: bool = False) -> "QuerySet[M]":
    """``rows`` less those that are not among the ``most`` newest (or oldest) for sure. One query on SQLite, with parts.

    Where one part has ``most`` rows, what is older than these is not among the ``most`` of all.
    """
    if parts is None or connection.vendor != "sqlite":
        return rows
    of_one = rows.filter(**{parts.column: OuterRef("pk")}).order_by("pk" if from_oldest else "-pk").values("pk")
    ends = parts.of.annotate(end=Subquery(of_one[most - 1 : most])).values_list("end", flat=True)
    order = F("end").asc(nulls_last=True) if from_oldest else F("end").desc(nulls_last=True)
    end = ends.order_by(order).first()
    if end is None:
        return rows
    return rows.filter(pk__lte=end) if from_oldest else rows.filter(pk__gte=end)
