"""What an agent may read by its address: tasks, rounds, an assignment's brief, handoffs. JSON, as tools tell it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.permissions import Can, require
from agents.coordination.models import Assignment, Review, Round, Task
from agents.coordination.queries import find_assignment, find_handoff, find_round, find_task, own_agent
from agents.coordination.states import TASK_ENDED
from nodes.contract.errors import NotFound

from .coordination import list_assignments
from .rows import Row, assignment_row, handoff_row, when
from .tool import Json

MIME: Final = "application/json"
MOST: Final = 100
"""Tasks or rounds told at most, the newest first."""
EXCERPT_CHARS: Final = 1_000
"""Of a text that is one among many; all of it is told by the resource that it belongs to."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One address, or with ``{…}`` in it one for each thing of a kind."""

    name: str
    uri: str
    title: str
    description: str
    read: Callable[..., Json]

    @property
    def is_template(self) -> bool:
        return "{" in self.uri

    def match(self, uri: str) -> list[str] | None:
        """What stands in the place of ``{…}``."""
        pattern = re.sub(r"\\\{\w+\\\}", "([^/?#]+)", re.escape(self.uri))
        found = re.fullmatch(pattern, uri)
        return [unquote(part) for part in found.groups()] if found else None


def read_resource(actor: Actor, uri: str) -> Json:
    """``NotFound`` for what does not exist or is not seen."""
    for resource in RESOURCES:
        named = resource.match(uri)
        if named is not None:
            return resource.read(actor, *named)
    raise NotFound(f"There is no resource {uri[:200]!r}. List resources and their templates.")


def _own_assignments(actor: Actor) -> Json:
    return list_assignments(actor, "")


def _own_tasks(actor: Actor) -> Json:
    agent = own_agent(actor)
    require(actor, Can.VIEW, agent.project_id)
    open_ = Task.objects.filter(dispatcher=agent).exclude(state__in=TASK_ENDED).order_by("-id")
    return {"tasks": [_task_row(task) for task in open_[:MOST]]}


def _task(actor: Actor, key: str) -> Json:
    task = find_task(actor, key)
    require(actor, Can.VIEW, task)
    rounds = task.rounds.select_related("task", "review").order_by("-number")[:MOST]
    return {
        "task": _task_row(task) | {"description": task.description},
        "rounds": [_round_row(each) for each in rounds],
    }


def _round(actor: Actor, round_id: str) -> Json:
    round_ = find_round(actor, round_id)
    require(actor, Can.VIEW, round_)
    rows = round_.assignments.select_related("agent", "task", "handoff").order_by("position")
    return {"round": _round_row(round_), "assignments": [_short(assignment_row(item)) for item in rows]}


def _assignment(actor: Actor, assignment_id: str) -> Json:
    item = find_assignment(actor, assignment_id)
    require(actor, Can.VIEW, item)
    return {
        "assignment": assignment_row(item),
        "task": _task_row(item.task) | {"description": item.task.description},
        "operator_note": item.round.operator_note,
        "last_review": _review_before(item),
    }


def _handoff(actor: Actor, handoff_id: str) -> Json:
    handoff = find_handoff(actor, handoff_id)
    require(actor, Can.VIEW, handoff)
    return {"handoff": handoff_row(handoff)}


def _review_before(item: Assignment) -> Row | None:
    """Why there is another round: the verdict on the one before."""
    earlier = Review.objects.filter(round__task=item.task_id, round__number__lt=item.round.number)
    found = earlier.order_by("-round__number").first()
    return {"verdict": found.verdict, "note": found.note} if found else None


def _task_row(task: Task) -> Row:
    return {"task_id": task.key, "title": task.title, "status": task.state, "created_at": when(task.created_at)}


def _round_row(round_: Round) -> Row:
    review = getattr(round_, "review", None)
    return _short({
        "id": str(round_.pk),
        "task_id": round_.task.key,
        "round_number": round_.number,
        "status": round_.state,
        "operator_note": round_.operator_note,
        "verdict": review.verdict if review else None,
        "review_note": review.note if review else "",
        "created_at": when(round_.created_at),
    })  # fmt: skip


def _short(row: Row) -> Row:
    return {name: _excerpt(value) for name, value in row.items()}


def _excerpt(value: Any) -> Any:
    is_long = isinstance(value, str) and len(value) > EXCERPT_CHARS
    return f"{value[:EXCERPT_CHARS]}…" if is_long else value


RESOURCES: Final = (
    Resource(
        "assignments", "agenthub://assignments", "Your assignments",
        "Yours, newest round first, and those that anyone may claim.", _own_assignments,
    ),
    Resource("tasks", "agenthub://tasks", "Your tasks", "Open tasks whose dispatcher you are.", _own_tasks),
    Resource(
        "task", "agenthub://tasks/{task_id}", "A task",
        "What is to be done, and its rounds: their states, what the operator noted, the verdicts.", _task,
    ),
    Resource(
        "round", "agenthub://rounds/{round_id}", "A round",
        "A plan, with the state of each assignment and the handoff_id of those that are completed.", _round,
    ),
    Resource(
        "assignment", "agenthub://assignments/{assignment_id}", "An assignment's brief",
        "Its goal, the task that it is a part of, what the operator noted, and the review that led to its round.",
        _assignment,
    ),
    Resource(
        "handoff", "agenthub://handoffs/{handoff_id}", "A handoff",
        "Branch, commit, changed files, tests, risks, next steps, notes. By its id, or that of its assignment.",
        _handoff,
    ),
)  # fmt: skip
