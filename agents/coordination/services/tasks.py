"""Tasks begin, and are closed."""

from django.db import IntegrityError, transaction
from django.utils import timezone

from agenthub_site.accounts.actors import Actor, ActorKind
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes.contract.errors import Invalid

from ...models import Agent
from ..errors import TaskEnded, TaskExists
from ..models import Assignment, Round, Task
from ..queries import own_agent
from ..states import ROUND_ENDED, RoundState, TaskState
from .moves import cancel_unfinished, lock_task, move
from .notices import tell_dispatcher
from .texts import TEXT_BYTES, checked_text, checked_word


def create_task(
    project: Project, *, by: Actor, key: str, title: str, description: str = "", dispatcher: Agent | None = None
) -> Task:
    """Begin a task as a draft. An agent plans its own; whoever else makes one names the ``dispatcher``.

    The same draft again is the same task. ``TaskExists`` for another one of that ``key``, ``Invalid`` with fields.
    """
    require(by, Can.CREATE_TASK, project.pk)
    key = checked_word("task_id", key, 128)
    title = checked_word("title", title, 200)
    description = checked_text("description", description, TEXT_BYTES)
    if by.kind is ActorKind.AGENT:
        dispatcher = dispatcher or own_agent(by)
    if dispatcher is None or dispatcher.project_id != project.pk or dispatcher.archived_at:
        raise Invalid(
            "Name an agent of the project as the dispatcher.",
            fields={"dispatcher": ["An agent of the project, who plans the task."]},
        )
    try:
        with transaction.atomic():
            task = Task.objects.create(
                project=project, key=key, title=title, description=description, dispatcher=dispatcher,
                created_by=(by.label or by.id)[:150],
            )  # fmt: skip
            record(project.pk, "task.created", by=by, of=("task", task.pk), key=key, dispatcher=dispatcher.name)
            return task
    except IntegrityError as error:
        found = Task.objects.filter(project=project, key=key).select_related("dispatcher").first()
        if found is None:
            raise
        said = (found.title, found.description, found.dispatcher_id, found.state)
        if said == (title, description, dispatcher.pk, TaskState.DRAFT):
            return found
        raise TaskExists(task_id=key) from error


@transaction.atomic
def hand_task(task: Task, dispatcher: Agent, *, by: Actor) -> Task:
    """Give a task to another dispatcher, who plans and reviews from now on, and is told so. To its own is no change.

    For one whose dispatcher was put away, say. Raises ``Invalid`` for an agent that is not of the project or put away,
    ``TaskEnded``.
    """
    require(by, Can.DECIDE_ROUND, task)
    task = lock_task(task.pk)
    if task.ended_at is not None:
        raise TaskEnded(f"{TaskEnded.message} It is {task.state}.", state=task.state)
    if dispatcher.project_id != task.project_id or dispatcher.archived_at:
        problem = "An agent of the project that works, who plans the task from now on."
        raise Invalid("Name an agent of the project as the dispatcher.", fields={"dispatcher": [problem]})
    if task.dispatcher_id == dispatcher.pk:
        return task
    former, task.dispatcher, task.updated_at = task.dispatcher.name, dispatcher, timezone.now()
    task.save(update_fields=["dispatcher", "updated_at"])
    tell_dispatcher(task)
    record(
        task.project_id, "task.handed", by=by, of=("task", task.pk), key=task.key, dispatcher=dispatcher.name,
        former=former,
    )  # fmt: skip
    return task


@transaction.atomic
def close_task(task: Task, *, by: Actor) -> Task:
    """End a task before it is completed: its open round and what is left of its assignments are cancelled with it.

    Twice is once. ``TaskEnded`` for a completed one.
    """
    require(by, Can.DECIDE_ROUND, task)
    task = lock_task(task.pk)
    if task.state == TaskState.CLOSED:
        return task
    move(task, TaskState.CLOSED, TaskEnded)
    for round_ in Round.objects.filter(task=task).exclude(state__in=ROUND_ENDED):
        move(round_, RoundState.CANCELLED, TaskEnded)
    cancelled = cancel_unfinished(Assignment.objects.filter(task=task), task.updated_at)
    record(task.project_id, "task.closed", by=by, of=("task", task.pk), key=task.key, cancelled_assignments=cancelled)
    return task
