"""Finding things of coordination among those that may be seen."""

from collections.abc import Callable, Collection
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Q, QuerySet

from agenthub_site.accounts.actors import Actor, ActorKind
from nodes.contract.errors import NotFound
from nodes.contract.ids import uuid_of

from ..models import Agent
from .errors import AgentsOnly, AssignmentNotValid, RoundNotFound, TaskNotFound
from .models import Assignment, Handoff, Limits, Round, Task
from .services.texts import checked_word
from .states import RoundState

M = TypeVar("M")


def as_uuid(text: object) -> UUID | None:
    """An id as agents write them: with blanks around it, or none at all."""
    return uuid_of(str(text).strip())


def _one(rows: QuerySet[Any], id_: object, missing: Callable[[], NotFound]) -> Any:
    pk = as_uuid(id_)
    found = rows.filter(pk=pk).first() if pk else None
    if found is None:
        raise missing()
    return found


def find_task(actor: Actor, key_or_id: str) -> Task:
    """By the key that its creator chose, or by its id. ``TaskNotFound``; also for a key of several visible projects.

    ``Invalid`` for what is no key.
    """
    key_or_id = checked_word("task_id", key_or_id, 128)
    seen = Task.objects.visible_to(actor).select_related("project", "dispatcher")
    found: list[Task] = list(seen.filter(key=key_or_id)[:2])
    if len(found) != 1 and (pk := as_uuid(key_or_id)):
        found = list(seen.filter(pk=pk))
    if len(found) > 1:
        raise TaskNotFound(f"Several projects have a task {key_or_id!r}. Name it by its id, {found[0].pk} for one.")
    if not found:
        raise TaskNotFound()
    return found[0]


def find_round(actor: Actor, round_id: object) -> Round:
    """``RoundNotFound`` for one that does not exist or is not seen."""
    seen = Round.objects.visible_to(actor).select_related("project", "task__dispatcher")
    found: Round = _one(seen, round_id, RoundNotFound)
    return found


def open_repeat_of(task_id: UUID) -> Round | None:
    """The round that opened by itself and waits for an operator, if there is one. What is planned takes its place."""
    return Round.objects.filter(task=task_id, is_repeat=True, state=RoundState.AWAITING_OPERATOR_APPROVAL).first()


def find_assignment(actor: Actor, assignment_id: object) -> Assignment:
    """``AssignmentNotValid`` for one that does not exist or is not seen."""
    seen = Assignment.objects.visible_to(actor).select_related("agent", "task", "round", "handoff")
    found: Assignment = _one(seen, assignment_id, AssignmentNotValid)
    return found


def find_handoff(actor: Actor, handoff_id: object) -> Handoff:
    """By its own id, or by that of its assignment. ``NotFound``."""
    seen = Handoff.objects.visible_to(actor).select_related("agent", "assignment")
    pk = as_uuid(handoff_id)
    found: Handoff | None = seen.filter(pk=pk).first() or seen.filter(assignment=pk).first() if pk else None
    if found is None:
        raise NotFound("There is no such handoff in your project.")
    return found


def find_colleague(project_id: UUID, name_or_id: str) -> Agent | None:
    """An agent of the project by its name, or its id; None if there is none that works."""
    return find_colleagues(project_id, [name_or_id]).get(name_or_id)


def find_colleagues(project_id: UUID, names_or_ids: Collection[str]) -> dict[str, Agent]:
    """Those of the project that work, each under the name or the id that was asked for. A name goes before an id."""
    ids = {text: pk for text in names_or_ids if (pk := as_uuid(text))}
    asked = Q(name__in=names_or_ids) | Q(pk__in=ids.values())
    agents = list(Agent.objects.filter(asked, project=project_id, archived_at=None)) if names_or_ids else []
    by_id, by_name = {agent.pk: agent for agent in agents}, {agent.name: agent for agent in agents}
    return {text: by_id[pk] for text, pk in ids.items() if pk in by_id} | {
        text: by_name[text] for text in names_or_ids if text in by_name
    }


def own_agent(actor: Actor) -> Agent:
    """The agent that ``actor`` is. ``AgentsOnly`` for people and programs, and for one that was put away."""
    agent: Agent | None = None
    if actor.kind is ActorKind.AGENT:
        mine = Agent.objects.visible_to(actor).filter(pk=actor.id, archived_at=None)
        agent = mine.only("name", "project_id", "archived_at").order_by().first()
    if agent is None:
        raise AgentsOnly()
    return agent


def limits_of(project_id: UUID) -> Limits:
    """The project's; the defaults, unsaved, if nobody has set them."""
    return Limits.objects.filter(project=project_id).first() or Limits(project_id=project_id)
