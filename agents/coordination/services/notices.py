"""What the hub itself writes to agents when it is their turn, so that one that is idle wakes.

Nobody is told of what they did themselves, or of what asks nothing of them. Assignments for anyone are told to nobody:
that would wake every agent for the work of one.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from mailboxes import services as mail

from ..models import Assignment, Round, Task
from ..states import TaskState

HUB: Final = mail.Address("system", "system")
GOAL_CHARS: Final = 400
GOALS_CHARS: Final = 8_000
"""Of all goals in one message: whatever a plan says, its approval can be told."""
NOTE_CHARS: Final = 2_000


def tell_workers(round_: Round, assignments: Sequence[Assignment]) -> None:
    """The plan stands: each agent learns which of ``assignments`` are its own. Within the caller's transaction."""
    own: dict[UUID, list[Assignment]] = defaultdict(list)
    for item in assignments:
        if item.agent_id is not None:
            own[item.agent_id].append(item)
    for agent_id, mine in sorted(own.items(), key=lambda each: str(each[0])):  # as all lock inboxes: in order
        chars = min(GOAL_CHARS, GOALS_CHARS // len(mine))
        goals = "\n".join(f"- assignment {item.pk}: {_clip(item.goal, chars)}" for item in mine)
        text = (
            f"The plan of {_name(round_)} is approved.{_note(round_)} Yours, to be claimed (assignment_claim):\n{goals}"
        )
        _tell(round_, agent_id, "assignment", f"{_name(round_)}: {len(mine)} for you", text)


def tell_rejected(round_: Round, again: Round | None = None) -> None:
    """The dispatcher has to plan anew; or may, where the round ``again`` opened by itself."""
    todo = "Plan it anew (round_plan_submit)."
    if again is not None:
        todo = (
            f"It has opened again as round {again.number}, with the same goals, and waits for the operator. What you "
            "plan meanwhile (round_plan_submit) takes its place."
        )
    text = f"An operator rejected the plan of {_name(round_)}.{_note(round_)} {todo}"
    _tell(round_, round_.task.dispatcher_id, "rejected", f"{_name(round_)}: rejected", text)


def tell_reviewer(round_: Round) -> None:
    """All is completed: the dispatcher's verdict is due."""
    text = (
        f"All assignments of {_name(round_)} are completed. Read their handoffs (assignment_list with the round_id, "
        f"handoff_get) and give your verdict (review_submit). Its round_id: {round_.pk}"
    )
    _tell(round_, round_.task.dispatcher_id, "review", f"{_name(round_)}: to be reviewed", text)


def tell_dispatcher(task: Task) -> None:
    """An operator gave it the task: what is to be done depends on how far that is."""
    todo = {
        TaskState.DRAFT: "Plan it (round_plan_submit).",
        TaskState.AWAITING_OPERATOR_APPROVAL: "Its plan waits for an operator.",
        TaskState.DISPATCHED: "Once all assignments of its round are completed, give your verdict (review_submit).",
    }.get(TaskState(task.state), "")
    mail.send(
        task.project_id, HUB, [mail.Address.of("agent", task.dispatcher_id)],
        {"body": f"An operator gave you the task {task.key}. {todo}", "task_id": task.key},
        subject=f"{task.key}: yours to dispatch"[:200], kind="dispatcher",
    )  # fmt: skip


def _tell(round_: Round, agent_id: UUID, kind: str, subject: str, text: str) -> None:
    mail.send(
        round_.project_id, HUB, [mail.Address.of("agent", agent_id)], {"body": text, "round_id": str(round_.pk)},
        subject=_clip(subject, 200), kind=kind, dedupe_key=f"round:{round_.pk}:{kind}:{agent_id}",
    )  # fmt: skip


def _name(round_: Round) -> str:
    return f"round {round_.number} of {round_.task.key}"


def _note(round_: Round) -> str:
    return f' The operator says: "{_clip(round_.operator_note, NOTE_CHARS)}".' if round_.operator_note else ""


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
