"""Rows as lists show them."""

from collections.abc import Iterable
from typing import Any, Literal

from django.db.models import F
from django.db.models.functions import Left

from agents.models import Run, VisibleQuerySet
from agents.queries import count_live_runs


def run_rows(runs: VisibleQuerySet[Run]) -> VisibleQuerySet[Run]:
    """Runs as a list shows them: the beginning of the prompt and the diff's counts, not all of it."""
    rows = runs.select_related("agent", "node", "project", "user").defer("prompt", "diff")
    return rows.annotate(  # type: ignore[return-value]  # to the type checker an annotated run is another type
        prompt_head=Left("prompt", 200),
        files_changed=F("diff__files_changed"),
        additions=F("diff__additions"),
        deletions=F("diff__deletions"),
    )


def with_live_runs(things: Iterable[Any], kind: Literal["agent", "project"]) -> list[Any]:
    """Agents or projects, each with the number of its ``live_runs``."""
    rows, live = list(things), count_live_runs(kind)
    for row in rows:
        row.live_runs = live[row.pk]
    return rows
