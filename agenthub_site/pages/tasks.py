"""The board of agents' tasks, a task's page, and the operator's buttons on both."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.db.models.functions import Left
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, may, require
from agents.coordination.models import Assignment, Lock, Round, Task
from agents.coordination.queries import find_colleague, open_repeat_of
from agents.coordination.services.rounds import approve_round, reject_round
from agents.coordination.services.tasks import close_task, hand_task
from agents.coordination.states import TASK_ENDED, TaskState
from agents.models import Agent
from nodes.contract.errors import HubError, Invalid

from .doors import PageRequest, named_project, page, tell

PER_COLUMN: Final = 50
MOST_OVER: Final = 20
MOST_LOCKS: Final = 50
MOST_AGENTS: Final = 200
GOAL_CHARS: Final = 100
_DECIDE: Final = {"approve": approve_round, "reject": reject_round}


@dataclass(frozen=True, slots=True)
class Card:
    """A task on the board, with its last round, and what whoever looks may do."""

    task: Task
    round: Round | None
    assignments: list[Assignment]
    may_decide: bool


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    says: str
    """What it means while it is empty."""
    cards: list[Card]
    is_cut: bool


_COLUMNS: Final = (
    ("Drafts", "No task waits for a plan.", [TaskState.DRAFT]),
    ("Wait for you", "No plan waits for an operator.", [TaskState.AWAITING_OPERATOR_APPROVAL]),
    ("Under way", "Nothing is worked on.", [TaskState.DISPATCHED]),
    ("Over", "Nothing is over yet.", sorted(TASK_ENDED)),
)


@require_GET
@page
def tasks(request: PageRequest) -> HttpResponse:
    seen = Project.objects.visible_to(request.actor).order_by("slug")
    project = named_project(request)
    rows = Task.objects.visible_to(request.actor)
    locks = Lock.objects.visible_to(request.actor).filter(holder__isnull=False, expires_at__gt=timezone.now())
    if project:
        rows, locks = rows.filter(project=project), locks.filter(project=project)
    columns = [_column(request, rows, *each) for each in _COLUMNS]
    context = {
        "columns": columns,
        "is_empty": not any(column.cards for column in columns),
        "locks": locks.select_related("holder", "project").order_by("expires_at")[:MOST_LOCKS],
        "projects": seen,
        "project": project,
        "now": timezone.now(),
    }
    return render(request, "pages/tasks/board.html" if request.htmx else "pages/tasks/list.html", context)


@require_GET
@page
def task(request: PageRequest, task_id: UUID) -> HttpResponse:
    found = get_object_or_404(_with_rounds(Task.objects.visible_to(request.actor)), pk=task_id)
    may_decide = may(request.actor, Can.DECIDE_ROUND, found.project_id)
    others = Agent.objects.filter(project=found.project_id, archived_at=None).exclude(pk=found.dispatcher_id)
    context = {
        "task": found,
        "rounds": list(found.rounds.all()),
        "may_decide": may_decide,
        "others": others.order_by("name")[:MOST_AGENTS] if may_decide and found.state not in TASK_ENDED else [],
        "is_over": found.state in TASK_ENDED,
        # Not while somebody may be writing a note.
        "is_followed": found.state in (TaskState.DRAFT, TaskState.DISPATCHED),
        "now": timezone.now(),
    }
    return render(request, "pages/tasks/part.html" if request.htmx else "pages/tasks/task.html", context)


@require_POST
@page
def decide(request: PageRequest, round_id: UUID, verb: str) -> HttpResponse:
    """``approve`` or ``reject``, with what the operator wrote."""
    found = get_object_or_404(Round.objects.visible_to(request.actor).select_related("task"), pk=round_id)
    try:
        _DECIDE[verb](found, by=request.actor, note=request.POST.get("note", ""))
    except HubError as error:
        if error.http in (403, 404):
            raise
        tell(request, error)
    else:
        messages.success(request, _said(found, verb))
    return _back(request, found.task)


@require_POST
@page
def close(request: PageRequest, task_id: UUID) -> HttpResponse:
    found = get_object_or_404(Task.objects.visible_to(request.actor), pk=task_id)
    try:
        close_task(found, by=request.actor)
    except HubError as error:
        if error.http in (403, 404):
            raise
        tell(request, error)
    else:
        messages.success(request, f"{found.key} is closed.")
    return _back(request, found)


@require_POST
@page
def hand(request: PageRequest, task_id: UUID) -> HttpResponse:
    found = get_object_or_404(Task.objects.visible_to(request.actor), pk=task_id)
    try:
        require(request.actor, Can.DECIDE_ROUND, found)
        dispatcher = find_colleague(found.project_id, request.POST.get("dispatcher", ""))
        if dispatcher is None:
            raise Invalid("There is no such agent in the project.")
        hand_task(found, dispatcher, by=request.actor)
    except HubError as error:
        if error.http in (403, 404):
            raise
        tell(request, error)
    else:
        messages.success(request, f"{dispatcher.name} plans and reviews {found.key} now.")
    return _back(request, found)


def _said(round_: Round, verb: str) -> str:
    name = f"Round {round_.number} of {round_.task.key}"
    if verb == "approve":
        return f"{name} is carried out now."
    if again := open_repeat_of(round_.task_id):
        return f"{name} is rejected. It opened again by itself, as round {again.number}, and waits for you."
    return f"{name} is planned anew."


def _back(request: PageRequest, task: Task) -> HttpResponse:
    return redirect("tasks") if request.POST.get("from") == "board" else redirect("task", task.pk)


def _column(request: PageRequest, rows: QuerySet[Task], title: str, says: str, states: list[Any]) -> Column:
    most = MOST_OVER if TaskState.COMPLETED in states else PER_COLUMN
    found = list(_with_last_round(rows.filter(state__in=states)).order_by("-id")[: most + 1])
    return Column(title, says, [_card(request, each) for each in found[:most]], len(found) > most)


def _with_last_round(rows: QuerySet[Task]) -> QuerySet[Task]:
    """With what a card shows of its last round: two queries more, and the beginnings of long texts."""
    latest = Round.objects.filter(task=OuterRef("task")).order_by("-number").values("pk")[:1]
    shown = Assignment.objects.select_related("agent").only("round_id", "state", "agent__name").order_by("position")
    assignments = Prefetch("assignments", shown.annotate(goal_head=Left("goal", GOAL_CHARS)))
    rounds = Round.objects.filter(pk=Subquery(latest)).only("task_id", "number", "state").prefetch_related(assignments)
    return (
        rows.select_related("project", "dispatcher").defer("description").prefetch_related(Prefetch("rounds", rounds))
    )


def _with_rounds(rows: QuerySet[Task]) -> QuerySet[Task]:
    """With rounds (the last one first) and assignments: three queries more, however many there are."""
    assignments = Assignment.objects.select_related("agent", "handoff__agent").order_by("position")
    rounds = Round.objects.select_related("review__agent").order_by("-number")
    rounds = rounds.prefetch_related(Prefetch("assignments", assignments))
    return rows.select_related("project", "dispatcher").prefetch_related(Prefetch("rounds", rounds))


def _card(request: PageRequest, task: Task) -> Card:
    last = next(iter(task.rounds.all()), None)
    assignments = list(last.assignments.all()) if last else []
    return Card(task, last, assignments, may(request.actor, Can.DECIDE_ROUND, task.project_id))
