"""Holds what the hub believes of runs against what nodes show: silence, losses, returns."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import DateTimeField, DurationField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, Value

from nodes.contract.commands import CancelRun, StartRun
from nodes.contract.limits import LOST_GRACE_SECONDS, SILENT_SECONDS
from nodes.contract.reasons import Reason
from nodes.models import Command

from .models import Run
from .services.answers import expire_commands
from .services.losses import (
    CANCEL_SILENT,
    DISABLED_GONE,
    NODE_GONE,
    disprove_ending,
    end_gone_run,
    end_unplaced_run,
    lose_run,
    mark_found,
    mark_lost,
    say_reached,
    say_unreached,
)
from .services.placing import agents_without_nodes
from .services.questions import expire_approvals
from .states import ENDED, ON_NODE, State

_AT_ONCE: Final = 500
_SILENT: Final = timedelta(seconds=SILENT_SECONDS)
_GRACE: Final = timedelta(seconds=SILENT_SECONDS + LOST_GRACE_SECONDS)


def tick(now: datetime, *, listening_since: datetime | None = None) -> int:
    """Runs of nodes silent beyond their agent's grace become lost; those of nodes that are gone end. Returns how many.

    A run that was handed to a node which fell silent before it answered says that it waits for that.
    Those of a revoked node are lost at once: nobody waits for it. A hub that began to listen at ``listening_since``
    was deaf before: it gives every node the grace to come back. Questions and commands that are overdue expire.
    """
    expire_commands(now)
    expire_approvals(now, listening_since)
    lost = _lose(now, listening_since)
    _say_who_is_away(now, listening_since)
    if listening_since and now - listening_since < _GRACE:
        return lost
    return lost + _end_gone(now)


def _lose(now: datetime, listening_since: datetime | None) -> int:
    """Each agent says how long its runs may be without word; a revoked node says nothing any more."""
    grace = ExpressionWrapper(F("agent__lost_after_seconds") * timedelta(seconds=1), output_field=DurationField())
    doubtful = (
        Run.objects.filter(state__in=ON_NODE - {State.LOST}, ended_at=None)
        .annotate(lost_if_unheard_since=ExpressionWrapper(Value(now - _SILENT) - grace, output_field=DateTimeField()))
        .exclude(pk__in=_unsent())
        .only("pk", "node_id")
        .order_by("pk")
    )
    is_silent = Q(node__last_heard_at=None) | Q(node__last_heard_at__lt=F("lost_if_unheard_since"))
    if listening_since:
        is_silent &= Q(lost_if_unheard_since__gte=listening_since)
    doubtful = doubtful.filter(is_silent | Q(node__revoked_at__isnull=False))
    return sum(mark_lost(run, silent_since=run.lost_if_unheard_since) for run in doubtful[:_AT_ONCE])


def _say_who_is_away(now: datetime, listening_since: datetime | None) -> None:
    """Runs that were handed to a node which has not answered say so while it is silent."""
    silent_since = now - _SILENT
    is_away = Q(node__last_heard_at=None) | Q(node__last_heard_at__lt=silent_since)
    is_unanswered = Q(pk__in=_unanswered().values("run"))
    handed = Run.objects.filter(state=State.STARTING, ended_at=None).order_by("pk").values_list("pk", flat=True)
    if listening_since is None or listening_since < silent_since:
        unsaid = handed.filter(is_away, is_unanswered).exclude(reason=Reason.NODE_OFFLINE)
        for run_id in list(unsaid[:_AT_ONCE]):
            say_unreached(run_id)
    for run_id in list(handed.filter(~(is_away & is_unanswered), reason=Reason.NODE_OFFLINE)[:_AT_ONCE]):
        say_reached(run_id)


def _end_gone(now: datetime) -> int:
    """The candidates, by what an index finds; each is looked at again under its locks."""
    silent = Q(node__last_heard_at=None) | Q(node__last_heard_at__lte=now - CANCEL_SILENT)
    disabled = Q(node__is_enabled=False)
    cancelled = Command.objects.filter(run=OuterRef("pk"), kind=CancelRun.KIND, created_at__lte=now - CANCEL_SILENT)
    lost = Q(state=State.LOST) & (
        Q(lost_at__lte=now - NODE_GONE)
        | silent & disabled & Q(lost_at__lte=now - DISABLED_GONE)
        | silent & Exists(cancelled)
    )
    waiting = Q(state=State.QUEUED) | Q(state=State.STARTING, pk__in=_unsent())
    gone = (
        Q(node__last_heard_at=None)
        | Q(node__last_heard_at__lte=now - NODE_GONE)
        | disabled & Q(node__last_heard_at__lte=now - DISABLED_GONE)
    )
    forlorn = waiting & Q(node__isnull=False, created_at__lte=now - NODE_GONE) & gone
    runs = Run.objects.filter(lost | forlorn, ended_at=None).order_by("pk").values_list("pk", flat=True)
    return sum(end_gone_run(run_id, now) for run_id in list(runs[:_AT_ONCE])) + _end_unplaced(now)


def _end_unplaced(now: datetime) -> int:
    """Runs that may go to any node that fits, where none was there for so long."""
    unplaced = Run.objects.filter(state=State.QUEUED, node=None, created_at__lte=now - NODE_GONE)
    nowhere = unplaced.filter(agent__in=agents_without_nodes(now - NODE_GONE)).order_by("pk")
    return sum(end_unplaced_run(run_id) for run_id in list(nowhere.values_list("pk", flat=True)[:_AT_ONCE]))


def _unsent() -> QuerySet[Command, UUID]:
    """Runs whose StartRun never left the hub: they are not lost, they wait for their node."""
    return _unanswered().filter(first_sent_at=None).values_list("run", flat=True)


def _unanswered() -> QuerySet[Command]:
    return Command.objects.filter(kind=StartRun.KIND, state=Command.State.PENDING)


def on_hello(node_id: UUID, held: Mapping[UUID, bool]) -> None:
    """A node lists the runs it holds (id → is alive): what it no longer holds is gone, what was lost is found.

    A run whose StartRun is unanswered is neither: asking again settles it. What the hub had given up, and is there
    alive, goes on; what ended there meanwhile goes on by its records.
    """
    unsettled = set(_unanswered().filter(node_id=node_id).values_list("run", flat=True))
    alive = [run_id for run_id, is_alive in held.items() if is_alive]
    believed = (
        Run.objects.select_for_update(of=("self",), no_key=True)
        .filter(Q(state__in=ON_NODE) | Q(pk__in=alive, state__in=ENDED, presumed_at__isnull=False), node_id=node_id)
        .defer("prompt", "diff")
        .order_by("pk")
    )
    for run in sorted(believed, key=lambda run: run.project_id):  # as ingest does: trails are locked in that order
        if run.is_ended:
            disprove_ending(run)
        elif run.pk not in held and run.pk not in unsettled:
            lose_run(run.pk)
        elif held.get(run.pk) and run.state == State.LOST:
            mark_found(run)
