"""The states of tasks, rounds and assignments, and the moves between them."""

from enum import StrEnum
from typing import Final


class TaskState(StrEnum):
    DRAFT = "draft"
    """It has no plan, or none that stands: its dispatcher plans."""
    AWAITING_OPERATOR_APPROVAL = "awaiting_operator_approval"
    DISPATCHED = "dispatched"
    COMPLETED = "completed"
    CLOSED = "closed"


class RoundState(StrEnum):
    AWAITING_OPERATOR_APPROVAL = "awaiting_operator_approval"
    DISPATCHED = "dispatched"
    IN_PROGRESS = "in_progress"
    AWAITING_REVIEW = "awaiting_review"
    COMPLETED = "completed"
    CHANGES_REQUESTED = "changes_requested"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class AssignmentState(StrEnum):
    PENDING = "pending"
    CLAIMED = "claimed"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


TASK_MOVES: Final[dict[TaskState, set[TaskState]]] = {
    TaskState.DRAFT: {TaskState.AWAITING_OPERATOR_APPROVAL, TaskState.DISPATCHED, TaskState.CLOSED},
    TaskState.AWAITING_OPERATOR_APPROVAL: {TaskState.DISPATCHED, TaskState.DRAFT, TaskState.CLOSED},
    TaskState.DISPATCHED: {
        TaskState.DRAFT, TaskState.AWAITING_OPERATOR_APPROVAL, TaskState.COMPLETED, TaskState.CLOSED,
    },
    TaskState.COMPLETED: set(),
    TaskState.CLOSED: set(),
}  # fmt: skip
"""A plan that is rejected, or work that is to be changed, makes the task a draft again."""

ROUND_MOVES: Final[dict[RoundState, set[RoundState]]] = {
    RoundState.AWAITING_OPERATOR_APPROVAL: {RoundState.DISPATCHED, RoundState.REJECTED, RoundState.CANCELLED},
    RoundState.DISPATCHED: {RoundState.IN_PROGRESS, RoundState.CANCELLED},
    RoundState.IN_PROGRESS: {RoundState.AWAITING_REVIEW, RoundState.CANCELLED},
    RoundState.AWAITING_REVIEW: {RoundState.COMPLETED, RoundState.CHANGES_REQUESTED, RoundState.CANCELLED},
    RoundState.COMPLETED: set(),
    RoundState.CHANGES_REQUESTED: set(),
    RoundState.REJECTED: set(),
    RoundState.CANCELLED: set(),
}

ASSIGNMENT_MOVES: Final[dict[AssignmentState, set[AssignmentState]]] = {
    AssignmentState.PENDING: {AssignmentState.CLAIMED, AssignmentState.CANCELLED},
    AssignmentState.CLAIMED: {
        AssignmentState.IN_PROGRESS, AssignmentState.COMPLETED, AssignmentState.PENDING, AssignmentState.CANCELLED,
    },
    AssignmentState.IN_PROGRESS: {
        AssignmentState.COMPLETED, AssignmentState.PENDING, AssignmentState.CANCELLED,
    },
    AssignmentState.COMPLETED: set(),
    AssignmentState.CANCELLED: set(),
}  # fmt: skip
"""Back to pending is where a lease leads that nobody renewed."""

ASSIGNMENT_ENDED: Final = frozenset(state for state, onward in ASSIGNMENT_MOVES.items() if not onward)
TASK_ENDED: Final = frozenset(state for state, onward in TASK_MOVES.items() if not onward)
ROUND_ENDED: Final = frozenset(state for state, onward in ROUND_MOVES.items() if not onward)
WORKING: Final = frozenset({RoundState.DISPATCHED, RoundState.IN_PROGRESS})
"""Rounds whose assignments may be claimed and worked on."""
HELD: Final = frozenset({AssignmentState.CLAIMED, AssignmentState.IN_PROGRESS})
"""Assignments that somebody has, as long as the lease runs."""
