"""Tools for working the hub itself: for tokens whose scope says ``hub:tools``, and no more than their holder may do."""

import json
from typing import Annotated, Final

from django.utils import timezone
from pydantic import Field

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.permissions import Can, require
from agents.coordination.queries import as_uuid
from agents.models import Approval, Run
from agents.queries import diff_of, find_agent, find_run, open_approvals, waiting_for
from agents.reading import encode, read_events, read_head
from agents.services.approvals import decide_approval
from agents.services.runs import cancel_run, start_run
from nodes.contract.errors import NotFound

from .rows import Row, when
from .tool import Json, in_database, tool

_TOOLS: Final = Can.USE_HUB_TOOLS
PATCH_CHARS: Final = 256 * 1024
EVENTS: Final = 200
EVENTS_BYTES: Final = 384 * 1024
MOST_APPROVALS: Final = 50

RunId = Annotated[str, Field(description="A run's id, as `run_start` told it.")]


@tool(_TOOLS)
@in_database
def run_start(
    actor: Actor,
    agent: Annotated[str, Field(description="Its id, project/name, or its name if only one has it.")],
    prompt: Annotated[str, Field(description="What it should do.")],
    keep_open: Annotated[bool, Field(description="Wait for more input at the end of the turn.")] = False,
) -> Json:
    """Start a run of an agent on its node. Follow it with `run_follow`."""
    return {"run": _run_row(start_run(find_agent(actor, agent), by=actor, prompt=prompt, keep_open=keep_open))}


@tool(_TOOLS, is_reading=True)
@in_database
def run_follow(
    actor: Actor,
    run_id: RunId,
    after: Annotated[int, Field(description="The number of the last event that you read; 0 for all.", ge=0)] = 0,
    limit: Annotated[int, Field(description="Events at most.", ge=1, le=EVENTS)] = 50,
) -> Json:
    """Read a run's state and its events after a number. All is read once `next` equals `last_seq`."""
    run = _find_run(actor, run_id)
    require(actor, Can.VIEW, run)
    head = read_head(run.pk, actor)
    rows = read_events(run.pk, after, limit) if after < head.last_seq else []
    events: list[Json] = []
    size, at = 0, after
    for row, event in zip(rows, encode(head, rows), strict=True):
        size += len(event.text)
        if events and size > EVENTS_BYTES:
            break
        events.append(json.loads(event.text))
        at = row.seq
    return {"run": _run_row(run), "events": events, "next": at, "last_seq": max(head.last_seq, at)}


@tool(_TOOLS, is_repeatable=True, is_destructive=True)
@in_database
def run_cancel(actor: Actor, run_id: RunId) -> Json:
    """End a run. Doing so twice is fine."""
    return {"run": _run_row(cancel_run(_find_run(actor, run_id), by=actor))}


@tool(_TOOLS, is_reading=True)
@in_database
def run_diff(actor: Actor, run_id: RunId) -> Json:
    """Read what a run changed: `state` is none, pending (on its way from the node) or ready."""
    run = _find_run(actor, run_id)
    require(actor, Can.VIEW, run)
    diff = diff_of(run)
    is_cut = len(diff["patch"]) > PATCH_CHARS
    return {"diff": {**diff, "patch": diff["patch"][:PATCH_CHARS], "is_cut": is_cut}}


@tool(_TOOLS, is_reading=True)
@in_database
def approval_list(actor: Actor) -> Json:
    """List the questions of runs that wait for your answer, oldest first."""
    waiting = open_approvals(actor).select_related("run__agent").order_by("requested_at")
    return {"approvals": [_approval_row(approval) for approval in waiting[:MOST_APPROVALS]]}


@tool(_TOOLS)
@in_database
def approval_answer(
    actor: Actor,
    approval_id: Annotated[str, Field(description="As `approval_list` told it.")],
    option_id: Annotated[str, Field(description="One of its options. Empty: cancel it, and the action is not done.")],
) -> Json:
    """Answer a question. The first answer wins; later ones are told who won."""
    pk = as_uuid(approval_id)
    found = Approval.objects.visible_to(actor).select_related("run__agent").filter(pk=pk).first() if pk else None
    if found is None:
        raise NotFound("There is no such approval that you may see.")
    outcome = None if option_id else "cancelled"
    return {"approval": _approval_row(decide_approval(found, by=actor, option_id=option_id or None, outcome=outcome))}


def _find_run(actor: Actor, run_id: str) -> Run:
    pk = as_uuid(run_id)
    if pk is None:
        raise NotFound("There is no such run that you may see.")
    return find_run(actor, pk)


def _run_row(run: Run) -> Row:
    return {
        "id": str(run.pk),
        "agent": run.agent.name,
        "state": run.state,
        "reason": run.reason,
        "message": run.message,
        "waiting_for": waiting_for(run),
        "created_at": when(run.created_at),
        "started_at": when(run.started_at),
        "ended_at": when(run.ended_at),
    }


def _approval_row(approval: Approval) -> Row:
    request = approval.request
    return {
        "id": str(approval.pk),
        "run_id": str(approval.run_id),
        "agent": approval.run.agent.name,
        "state": approval.state,
        "kind": approval.kind,
        "title": approval.title,
        "command": request.get("command", ""),
        "paths": request.get("paths", []),
        "options": request.get("options", []),
        "option_id": approval.option_id,
        "expires_in_seconds": max(0, round((approval.expires_at - timezone.now()).total_seconds())),
    }
