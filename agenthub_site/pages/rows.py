"""Rows as lists show them."""

from collections.abc import Iterable
from typing import Any, Literal

from django.db.models import F
from django.db.models.functions import Left

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.newest import Parts, projects_apart
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


def shown_apart(actor: Actor) -> Parts | None:
    """What a list of all that the actor sees is put together of: see ``accounts.newest``."""
    return None if actor.sees_all else projects_apart(actor.project_ids)


def with_live_runs(things: Iterable[Any], kind: Literal["agent", "project"]) -> list[Any]:
    """Agents or projects, each with the number of its ``live_runs``."""
    rows, live = list(things), count_live_runs(kind)
    for row in rows:
        row.live_runs = live[row.pk]
    return rows
