"""Rounds: plans are submitted, let through or refused by an operator, and reviewed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Actor
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes.contract.errors import Invalid

from ...models import Agent
from ..errors import (
    EmptyPlan,
    InvalidVerdict,
    MaxRoundsReached,
    NotTaskDispatcher,
    RoundNotAwaitingApproval,
    RoundNotReviewable,
    TaskNotDispatchable,
    TooManyAssignments,
)
from ..models import Assignment, Limits, Review, Round, Task
from ..queries import limits_of, open_repeat_of, own_agent
from ..states import RoundState, TaskState
from .moves import cancel_unfinished, lock_task, move
from .notices import tell_rejected, tell_workers
from .texts import GOAL_BYTES, TEXT_BYTES, checked_text

_NOT_COUNTED: Final = frozenset({RoundState.REJECTED, RoundState.CANCELLED})
"""By ``max_rounds``: nobody carried them out."""


@dataclass(frozen=True, slots=True)
class Planned:
    """An assignment to be. Without ``agent`` it is for whichever agent of the project claims it first."""

    goal: str
    agent: Agent | None = None


@transaction.atomic
def submit_plan(task: Task, plan: Sequence[Planned], *, by: Actor) -> Round:
    """Plan the task's next round: by its dispatcher, while it is a draft. All of the plan is taken, or nothing.

    It takes the place of a round that opened by itself, as long as that one waits for an operator. It waits for one
    itself, unless the project's limits say ``auto_approve``. Raises ``NotTaskDispatcher``, ``TaskNotDispatchable``,
    ``MaxRoundsReached``, ``EmptyPlan``, ``TooManyAssignments``, ``Invalid``.
    """
    require(by, Can.WORK_ON_TASK, task)
    agent = own_agent(by)
    task = lock_task(task.pk)
    if task.dispatcher_id != agent.pk:
        raise NotTaskDispatcher()
    replaced = open_repeat_of(task.pk)
    if replaced is not None:
        move(replaced, RoundState.CANCELLED, TaskNotDispatchable)
        cancel_unfinished(replaced.assignments.all(), timezone.now())
        move(task, TaskState.DRAFT, TaskNotDispatchable)
    if task.state != TaskState.DRAFT:
        raise TaskNotDispatchable(f"{TaskNotDispatchable.message} It is {task.state}.", state=task.state)
    return _open_round(task, plan, limits_of(task.project_id), by, replaced=replaced)


def _open_round(
    task: Task,
    plan: Sequence[Planned],
    limits: Limits,
    by: Actor,
    *,
    replaced: Round | None = None,
    is_repeat: bool = False,
    must_wait: bool = False,
) -> Round:
    _check_plan(task, plan, limits)
    numbers = list(task.rounds.order_by().values_list("number", "state"))
    counted = sum(state not in _NOT_COUNTED for _, state in numbers)
    if counted >= limits.max_rounds:
        raise MaxRoundsReached(
            f"The task has had its {limits.max_rounds} rounds. Have an operator raise max_rounds, or close it.",
            limit=limits.max_rounds,
        )
    to_round, to_task = RoundState.AWAITING_OPERATOR_APPROVAL, TaskState.AWAITING_OPERATOR_APPROVAL
    decided = {}
    is_approved = limits.auto_approve and not must_wait
    if is_approved:
        to_round, to_task = RoundState.DISPATCHED, TaskState.DISPATCHED
        decided = {"decided_by": "auto_approve", "decided_at": timezone.now()}
    if task.state != to_task:
        move(task, to_task, TaskNotDispatchable)
    round_ = Round.objects.create(
        project_id=task.project_id, task=task, number=max((number for number, _ in numbers), default=0) + 1,
        state=to_round, is_repeat=is_repeat, **decided,
    )  # fmt: skip
    made = Assignment.objects.bulk_create(
        Assignment(
            project_id=task.project_id, task=task, round=round_, agent=planned.agent,
            is_for_anyone=planned.agent is None, position=position, goal=planned.goal,
        )
        for position, planned in enumerate(plan)
    )  # fmt: skip
    if is_approved:
        tell_workers(round_, made)
    more: dict[str, Any] = {"replaced": replaced.number} if replaced else {}
    record(
        task.project_id, "round.submitted", by=by, of=("round", round_.pk), task=task.key, number=round_.number,
        assignments=len(plan), auto_approved=is_approved, **more,
    )  # fmt: skip
    return round_


def _same_goals(round_: Round) -> list[Planned]:
    """What it planned; of agents that were put away since, for anyone."""
    return [
        Planned(item.goal, None if item.is_for_anyone or (item.agent and item.agent.archived_at) else item.agent)
        for item in round_.assignments.select_related("agent").order_by("position")
    ]


def _check_plan(task: Task, plan: Sequence[Planned], limits: Limits) -> None:
    if not plan:
        raise EmptyPlan()
    if len(plan) > limits.max_assignments_per_round:
        raise TooManyAssignments(
            f"A round has at most {limits.max_assignments_per_round} assignments here; this plan has {len(plan)}.",
            limit=limits.max_assignments_per_round,
        )
    for planned in plan:
        if not checked_text("goal", planned.goal, GOAL_BYTES).strip():
            raise Invalid("Every assignment needs a goal.", fields={"goal": ["This must not be empty."]})
        if planned.agent and (planned.agent.project_id != task.project_id or planned.agent.archived_at):
            raise Invalid(f"{planned.agent.name} is no agent of the project.", fields={"agent_id": ["Unknown."]})


def approve_round(round_: Round, *, by: Actor, note: str = "") -> Round:
    """Let the plan be carried out: agents may claim its assignments, and are told of theirs.

    Raises ``RoundNotAwaitingApproval``.
    """
    return _decide(round_, RoundState.DISPATCHED, TaskState.DISPATCHED, by=by, note=note)


def reject_round(round_: Round, *, by: Actor, note: str = "") -> Round:
    """Refuse the plan: the task is a draft again, and its dispatcher plans anew. ``RoundNotAwaitingApproval``.

    Where the limits say ``auto_create_next_round``, a round with the same goals opens by itself, and waits for an
    operator whatever else they say: a person said no. Rejected ones count there, so that ``max_rounds`` ends it.
    """
    return _decide(round_, RoundState.REJECTED, TaskState.DRAFT, by=by, note=note)


@transaction.atomic
def _decide(round_: Round, to: RoundState, task_to: TaskState, *, by: Actor, note: str) -> Round:
    require(by, Can.DECIDE_ROUND, round_)
    note = checked_text("note", note, TEXT_BYTES)
    task = lock_task(round_.task_id)
    decided = {"operator_note": note, "decided_by": (by.label or by.id)[:150], "decided_at": timezone.now()}
    move(round_, to, RoundNotAwaitingApproval, **decided)
    move(task, task_to, RoundNotAwaitingApproval)
    is_rejected = to is RoundState.REJECTED
    if not is_rejected:
        tell_workers(round_, list(round_.assignments.order_by("position")))
    name = "round.rejected" if is_rejected else "round.approved"
    record(task.project_id, name, by=by, of=("round", round_.pk), task=task.key, number=round_.number, note=note[:500])
    if is_rejected:
        cancel_unfinished(round_.assignments.all(), round_.updated_at)
        tell_rejected(round_, _repeat_rejected(task, round_))
    return round_


def _repeat_rejected(task: Task, round_: Round) -> Round | None:
    """The round that opens by itself after one that was rejected; None where it is for the dispatcher to plan."""
    limits = limits_of(task.project_id)
    plan = _same_goals(round_)
    if (
        not limits.auto_create_next_round
        or len(plan) > limits.max_assignments_per_round
        or task.rounds.count() >= limits.max_rounds
    ):
        return None
    return _open_round(task, plan, limits, SYSTEM, is_repeat=True, must_wait=True)


@transaction.atomic
def review_round(round_: Round, *, by: Actor, verdict: str, note: str = "") -> tuple[Review, Round | None]:
    """The dispatcher's verdict on a round whose work is done, and the next round if one opened by itself.

    ``approved`` completes round and task. ``changes_requested`` makes the task a draft again, or opens the next round
    with the same goals where the limits say ``auto_create_next_round`` and allow that many: those of agents that were
    put away since are for anyone. Raises ``InvalidVerdict``, ``NotTaskDispatcher``, ``RoundNotReviewable``,
    ``MaxRoundsReached``; then nothing has changed.
    """
    require(by, Can.WORK_ON_TASK, round_)
    agent = own_agent(by)
    if verdict not in Review.Verdict.values:
        raise InvalidVerdict(fields={"verdict": [InvalidVerdict.message]})
    note = checked_text("note", note, TEXT_BYTES)
    task = lock_task(round_.task_id)
    if task.dispatcher_id != agent.pk:
        raise NotTaskDispatcher()
    is_approved = verdict == Review.Verdict.APPROVED
    move(round_, RoundState.COMPLETED if is_approved else RoundState.CHANGES_REQUESTED, RoundNotReviewable)
    review = Review.objects.create(project_id=task.project_id, round=round_, agent=agent, verdict=verdict, note=note)
    limits = limits_of(task.project_id)
    opened = None
    if is_approved:
        move(task, TaskState.COMPLETED, RoundNotReviewable)
    elif limits.auto_create_next_round and round_.assignments.count() <= limits.max_assignments_per_round:
        opened = _open_round(task, _same_goals(round_), limits, SYSTEM, is_repeat=True)
    else:
        move(task, TaskState.DRAFT, RoundNotReviewable)
    record(
        task.project_id, "round.reviewed", by=by, of=("round", round_.pk), task=task.key, number=round_.number,
        verdict=verdict,
    )  # fmt: skip
    return review, opened
