"""Rounds: plans are submitted, let through or refused by an operator, and reviewed."""

from collections.abc import Sequence
from dataclasses import dataclass

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
from ..queries import limits_of, own_agent
from ..states import RoundState, TaskState
from .moves import lock_task, move
from .notices import tell_rejected, tell_workers
from .texts import GOAL_BYTES, TEXT_BYTES, checked_text


@dataclass(frozen=True, slots=True)
class Planned:
    """An assignment to be. Without ``agent`` it is for whichever agent of the project claims it first."""

    goal: str
    agent: Agent | None = None


@transaction.atomic
def submit_plan(task: Task, plan: Sequence[Planned], *, by: Actor) -> Round:
    """Plan the task's next round: by its dispatcher, while it is a draft. All of the plan is taken, or nothing.

    It waits for an operator, unless the project's limits say ``auto_approve``. Raises ``NotTaskDispatcher``,
    ``TaskNotDispatchable``, ``MaxRoundsReached``, ``EmptyPlan``, ``TooManyAssignments``, ``Invalid``.
    """
    require(by, Can.WORK_ON_TASK, task)
    agent = own_agent(by)
    task = lock_task(task.pk)
    if task.dispatcher_id != agent.pk:
        raise NotTaskDispatcher()
    if task.state != TaskState.DRAFT:
        raise TaskNotDispatchable(f"{TaskNotDispatchable.message} It is {task.state}.", state=task.state)
    return _open_round(task, plan, limits_of(task.project_id), by)


def _open_round(task: Task, plan: Sequence[Planned], limits: Limits, by: Actor) -> Round:
    _check_plan(task, plan, limits)
    numbers = list(task.rounds.order_by().values_list("number", "state"))
    counted = sum(state != RoundState.REJECTED for _, state in numbers)
    if counted >= limits.max_rounds:
        raise MaxRoundsReached(
            f"The task has had its {limits.max_rounds} rounds. Have an operator raise max_rounds, or close it.",
            limit=limits.max_rounds,
        )
    to_round, to_task = RoundState.AWAITING_OPERATOR_APPROVAL, TaskState.AWAITING_OPERATOR_APPROVAL
    decided = {}
    if limits.auto_approve:
        to_round, to_task = RoundState.DISPATCHED, TaskState.DISPATCHED
        decided = {"decided_by": "auto_approve", "decided_at": timezone.now()}
    if task.state != to_task:
        move(task, to_task, TaskNotDispatchable)
    round_ = Round.objects.create(
        project_id=task.project_id, task=task, number=max((number for number, _ in numbers), default=0) + 1,
        state=to_round, **decided,
    )  # fmt: skip
    made = Assignment.objects.bulk_create(
        Assignment(
            project_id=task.project_id, task=task, round=round_, agent=planned.agent,
            is_for_anyone=planned.agent is None, position=position, goal=planned.goal,
        )
        for position, planned in enumerate(plan)
    )  # fmt: skip
    if limits.auto_approve:
        tell_workers(round_, made)
    record(
        task.project_id, "round.submitted", by=by, of=("round", round_.pk), task=task.key, number=round_.number,
        assignments=len(plan), auto_approved=limits.auto_approve,
    )  # fmt: skip
    return round_


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
    """Refuse the plan: the task is a draft again, and its dispatcher plans anew. ``RoundNotAwaitingApproval``."""
    return _decide(round_, RoundState.REJECTED, TaskState.DRAFT, by=by, note=note)


@transaction.atomic
def _decide(round_: Round, to: RoundState, task_to: TaskState, *, by: Actor, note: str) -> Round:
    require(by, Can.DECIDE_ROUND, round_)
    note = checked_text("note", note, TEXT_BYTES)
    task = lock_task(round_.task_id)
    decided = {"operator_note": note, "decided_by": (by.label or by.id)[:150], "decided_at": timezone.now()}
    move(round_, to, RoundNotAwaitingApproval, **decided)
    move(task, task_to, RoundNotAwaitingApproval)
    if to is RoundState.REJECTED:
        tell_rejected(round_)
    else:
        tell_workers(round_, list(round_.assignments.order_by("position")))
    name = "round.rejected" if to is RoundState.REJECTED else "round.approved"
    record(task.project_id, name, by=by, of=("round", round_.pk), task=task.key, number=round_.number, note=note[:500])
    return round_


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
        again = [
            Planned(item.goal, None if item.is_for_anyone or (item.agent and item.agent.archived_at) else item.agent)
            for item in round_.assignments.select_related("agent").order_by("position")
        ]
        opened = _open_round(task, again, limits, SYSTEM)
    else:
        move(task, TaskState.DRAFT, RoundNotReviewable)
    record(
        task.project_id, "round.reviewed", by=by, of=("round", round_.pk), task=task.key, number=round_.number,
        verdict=verdict,
    )  # fmt: skip
    return review, opened
