"""Tools for planning and doing coordinated work."""

import json
from importlib.metadata import version
from typing import Annotated, Any, Final

from django.db.models import Case, Q, When
from pydantic import Field

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, require
from agents.coordination.models import Assignment
from agents.coordination.queries import find_assignment, find_handoff, find_round, find_task, own_agent
from agents.coordination.services import assignments, locks, presence, rounds, tasks
from agents.coordination.states import ASSIGNMENT_ENDED, AssignmentState

from .messages import ANSWER_BYTES
from .parsing import read_handoff, read_json, read_list, read_plan
from .rows import assignment_row, handoff_row, lock_row
from .tool import Asking, Json, in_database, tool

MOST_LISTED: Final = 200
VERSION: Final = version("agenthub")
_WORK: Final = Can.WORK_ON_TASK

AssignmentId = Annotated[str, Field(description="As `assignment_list` and `round_plan_submit` told it.")]
RoundId = Annotated[str, Field(description="As `round_plan_submit` told it.")]


@tool(Can.VIEW, is_reading=True)
async def hub_status(asking: Asking) -> Json:
    """Say the hub's version. Cheap: use it to check the connection and the token."""
    return {"version": VERSION, "transport": "streamable-http"}


@tool(_WORK, is_repeatable=True)
@in_database
def agent_register(
    actor: Actor,
    name: Annotated[str, Field(description="What to call you, for people.")],
    capabilities: Annotated[
        str, Field(description='What you are good at, as a JSON array: ["python", "docs"].')
    ] = "[]",
) -> Json:
    """Tell the hub your name and what you can do. Optional: your token already says who you are."""
    can = read_list("capabilities", read_json("capabilities", capabilities) if capabilities else [])
    said = presence.register_agent(by=actor, name=name, capabilities=can)
    return {"agent_id": own_agent(actor).name, "name": said.name}


@tool(_WORK, is_repeatable=True)
@in_database
def agent_heartbeat(actor: Actor) -> Json:
    """Tell the hub that you are there. Claims are renewed by `assignment_progress`, not by this."""
    presence.note_heartbeat(by=actor)
    return {}


@tool(_WORK, is_repeatable=True)
@in_database
def task_draft_create(
    actor: Actor,
    task_id: Annotated[str, Field(description="An id of your choice, unique in the project, such as FEAT-12.")],
    title: Annotated[str, Field(description="One line.")],
    description: Annotated[str, Field(description="What is to be done, and why.")] = "",
) -> Json:
    """Begin a task, whose dispatcher you are: you plan it with `round_plan_submit` and review it at the end."""
    agent = own_agent(actor)
    project = Project.objects.get(pk=agent.project_id)
    task = tasks.create_task(project, by=actor, key=task_id, title=title, description=description)
    return {"task_id": task.key}


@tool(_WORK)
@in_database
def round_plan_submit(
    actor: Actor,
    task_id: Annotated[str, Field(description="The id that you gave the task.")],
    plan_json: Annotated[
        str,
        Field(
            description='{"assignments": [{"agent_id": "codex", "goal": "…"}]}. An agent_id of null is for whichever '
            "agent claims it first."
        ),
    ],
) -> Json:
    """Plan the task's next round. An operator approves or rejects it; then the assignments may be claimed.

    You may plan while the task is a draft: at first, after a rejection, and after a review that asks for changes; and
    in the place of a round that opened by itself, as long as that one waits for the operator.
    """
    require(actor, _WORK, own_agent(actor).project_id)
    task = find_task(actor, task_id)
    made = rounds.submit_plan(task, read_plan(task.project_id, plan_json), by=actor)
    return {"round_id": str(made.pk), "round_number": made.number, "status": made.state}


@tool(_WORK, is_reading=True)
@in_database
def assignment_list(
    actor: Actor, round_id: Annotated[str, Field(description="Only those of this round; empty: of all.")] = ""
) -> Json:
    """List your assignments, and those that anyone may claim: open ones first, of the newest round first.

    Of a round of your own task, all of its assignments, with the `handoff_id` of each that is completed.
    """
    return list_assignments(actor, round_id)


def list_assignments(actor: Actor, round_id: str) -> Json:
    """As ``assignment_list`` tells them, as many as fit an answer."""
    agent = own_agent(actor)
    require(actor, Can.VIEW, agent.project_id)
    rows = Assignment.objects.visible_to(actor).select_related("agent", "task", "handoff")
    mine = Q(agent=agent) | Q(agent=None, is_for_anyone=True, state=AssignmentState.PENDING)
    if round_id:
        found = find_round(actor, round_id)
        rows = rows.filter(round=found)
        if found.task.dispatcher_id == agent.pk:
            mine = Q()
    is_over = Case(When(state__in=ASSIGNMENT_ENDED, then=1), default=0)
    listed = list(rows.filter(mine).order_by(is_over, "-round_id", "position")[: MOST_LISTED + 1])
    fitting: list[Json] = []
    size = 0
    for item in listed[:MOST_LISTED]:
        row = assignment_row(item)
        size += len(json.dumps(row))
        if fitting and size > ANSWER_BYTES:
            break
        fitting.append(row)
    told: dict[str, Any] = {"assignments": fitting}
    return told | ({"has_more": True} if len(fitting) < len(listed) else {})


@tool(_WORK)
@in_database
def assignment_claim(actor: Actor, assignment_id: AssignmentId) -> Json:
    """Take a pending assignment of an approved round. Only one who tries gets it.

    It is yours until `lease_expires_at`, which `assignment_progress` puts off; after that it is free again.
    """
    return _assignment(actor, assignments.claim_assignment(find_assignment(actor, assignment_id), by=actor))


@tool(_WORK, is_repeatable=True)
@in_database
def assignment_progress(
    actor: Actor,
    assignment_id: AssignmentId,
    status: Annotated[str, Field(description="'in_progress', once you work on it; 'claimed' only renews the lease.")],
    note: Annotated[str, Field(description="How far you are. Empty: the last note stays.")] = "",
) -> Json:
    """Report progress on an assignment that you hold, and renew its lease. Do so well before the lease expires."""
    found = find_assignment(actor, assignment_id)
    return _assignment(actor, assignments.report_progress(found, by=actor, status=status, note=note))


@tool(_WORK)
@in_database
def assignment_complete(
    actor: Actor,
    assignment_id: AssignmentId,
    handoff_json: Annotated[
        str,
        Field(
            description='{"branch", "commit_hash", "changed_files": [], "tests_run": [], "risks", "next_steps", '
            '"notes"}; all of them optional.'
        ),
    ],
) -> Json:
    """Complete an assignment that you hold, with a handoff for whoever goes on. With the last one of a round the
    dispatcher reviews it."""
    found = find_assignment(actor, assignment_id)
    done, _ = assignments.complete_assignment(found, read_handoff(handoff_json), by=actor)
    return _assignment(actor, done)


@tool(_WORK, is_reading=True)
@in_database
def handoff_get(
    actor: Actor, handoff_id: Annotated[str, Field(description="Its id, or that of its assignment.")]
) -> Json:
    """Read a handoff: branch, commit, changed files, tests, risks, next steps, notes."""
    require(actor, Can.VIEW, own_agent(actor).project_id)
    return {"handoff": handoff_row(find_handoff(actor, handoff_id))}


@tool(_WORK)
@in_database
def review_submit(
    actor: Actor,
    round_id: RoundId,
    verdict: Annotated[str, Field(description="'approved' or 'changes_requested'.")],
    note: Annotated[str, Field(description="Why; what is to change.")] = "",
) -> Json:
    """Give your verdict, as the task's dispatcher, on a round whose assignments are all completed.

    'approved' completes the task. After 'changes_requested' plan the next round with `round_plan_submit`, unless the
    answer names one that opened by itself.
    """
    found = find_round(actor, round_id)
    review, opened = rounds.review_round(found, by=actor, verdict=verdict, note=note)
    if opened is None:
        return {"status": review.round.state, "round_id": str(review.round_id)}
    return {
        "status": opened.state,
        "round_id": str(opened.pk),
        "round_number": opened.number,
        "message": "Changes are requested; the next round has opened with the same goals.",
    }


@tool(_WORK)
@in_database
def lock_acquire(
    actor: Actor,
    *,
    lock_key: Annotated[str, Field(description="What is locked, such as branch:main.")],
    resource_type: Annotated[str, Field(description="assignment, branch or file_group; for people.")] = "assignment",
    resource_id: Annotated[str, Field(description="Which one; for people.")] = "",
    ttl_seconds: Annotated[int, Field(description="It ends by itself after so many seconds: 1 to 86,400.")] = 600,
    fencing_number: Annotated[
        int, Field(description="To prolong a lock that you hold: its number. 0: take a free one.", ge=0)
    ] = 0,
) -> Json:
    """Take a lock that nobody holds. Its `fencing_number` is greater than all before it: let what you protect refuse
    lower ones. If it is held, the error says by whom and until when."""
    taken = locks.acquire_lock(
        lock_key, by=actor, resource_type=resource_type, resource_id=resource_id, ttl_seconds=ttl_seconds,
        fencing_number=fencing_number,
    )  # fmt: skip
    return {"lock": lock_row(taken)}


@tool(_WORK)
@in_database
def lock_release(
    actor: Actor,
    lock_key: str,
    fencing_number: Annotated[int, Field(description="Only if held under this number. 0: whichever.", ge=0)] = 0,
) -> Json:
    """Give back a lock that you hold."""
    locks.release_lock(lock_key, by=actor, fencing_number=fencing_number)
    return {}


def _assignment(actor: Actor, item: Assignment) -> Json:
    return {"assignment": assignment_row(find_assignment(actor, item.pk))}
