"""What coordination refuses. At ``/mcp`` the codes are told in capitals."""

from nodes.contract.errors import Conflict, Forbidden, Invalid, NotFound, WrongState


class AgentsOnly(Forbidden):
    code = "agents_only"
    message = "This is for agents: use a token that speaks for one."


class TaskNotFound(NotFound):
    code = "task_not_found"
    message = "There is no such task in your project."


class RoundNotFound(NotFound):
    code = "round_not_found"
    message = "There is no such round in your project."


class AssignmentNotValid(NotFound):
    code = "assignment_not_valid"
    message = "You have no such assignment. `assignment_list` shows yours."


class TaskExists(Conflict):
    code, grpc = "task_exists", "ALREADY_EXISTS"
    message = "The project has a task of that id already. Choose another."


class NotTaskDispatcher(Forbidden):
    code = "not_task_dispatcher"
    message = "Only the task's dispatcher may do that: the agent that plans it."


class TaskNotDispatchable(WrongState):
    code = "task_not_dispatchable"
    message = "The task takes no plan in its present state."


class MaxRoundsReached(WrongState):
    code = "max_rounds_reached"


class TooManyAssignments(Invalid):
    code = "too_many_assignments"


class EmptyPlan(Invalid):
    code = "empty_plan"
    message = "A plan has at least one assignment: otherwise its round could never end."


class RoundNotAwaitingApproval(WrongState):
    code = "round_not_awaiting_approval"
    message = "The round does not wait for an operator."


class TaskEnded(WrongState):
    code = "task_ended"
    message = "The task is over."


class RoundNotApproved(WrongState):
    code = "round_not_approved"
    message = "The round is not under way: an operator has not approved it, or it is over."


class AssignmentNotPending(WrongState):
    code = "assignment_not_pending"
    message = "The assignment is not free to be claimed."


class AssignmentNotActive(WrongState):
    code = "assignment_not_active"
    message = "You do not hold the assignment: claim it first."


class LeaseExpired(WrongState):
    code = "lease_expired"
    message = "Your lease on the assignment has run out. Claim it again, if it is still free."


class ActiveAssignmentLimit(WrongState):
    code = "active_assignment_limit"


class InvalidStatus(Invalid):
    code = "invalid_status"
    message = "status is 'claimed' or 'in_progress'."


class InvalidVerdict(Invalid):
    code = "invalid_verdict"
    message = "verdict is 'approved' or 'changes_requested'."


class RoundNotReviewable(WrongState):
    code = "round_not_reviewable"
    message = "The round does not wait for a review."


class LockConflict(Conflict):
    """``data``: who ``holder`` is, and until when (``expires_at``)."""

    code = "lock_conflict"


class LockNotHeld(Conflict):
    code = "lock_not_held"
    message = "You do not hold this lock."


class MessageLimitReached(WrongState):
    code = "message_limit_reached"
