"""Things of coordination as the tools tell them: the fields that prompts and programs know."""

import json
from datetime import datetime
from typing import Any

from agents.coordination.models import Assignment, Handoff, Lock

Row = dict[str, Any]


def when(at: datetime | None) -> str | None:
    """ISO 8601, UTC, with its offset."""
    return at.isoformat() if at else None


def assignment_row(item: Assignment) -> Row:
    """With its agent, task and handoff loaded."""
    handoff = getattr(item, "handoff", None)
    return {
        "id": str(item.pk),
        "round_id": str(item.round_id),
        "task_id": item.task.key,
        "agent_id": item.agent.name if item.agent else None,
        "goal": item.goal,
        "status": item.state,
        "claimed_at": when(item.claimed_at),
        "started_at": when(item.started_at),
        "completed_at": when(item.completed_at),
        "lease_expires_at": when(item.lease_expires_at),
        "progress_note": item.progress_note,
        "result_summary": handoff.notes if handoff else "",
        "handoff_id": str(handoff.pk) if handoff else None,
        "created_at": when(item.created_at),
        "updated_at": when(item.updated_at),
    }


def handoff_row(handoff: Handoff) -> Row:
    """``changed_files`` and ``tests_run`` are JSON texts of lists."""
    return {
        "id": str(handoff.pk),
        "assignment_id": str(handoff.assignment_id),
        "from_agent": handoff.agent.name,
        "branch": handoff.branch,
        "commit_hash": handoff.commit_hash,
        "changed_files": json.dumps(handoff.changed_files, ensure_ascii=False),
        "tests_run": json.dumps(handoff.tests_run, ensure_ascii=False),
        "risks": handoff.risks,
        "next_steps": handoff.next_steps,
        "notes": handoff.notes,
        "created_at": when(handoff.created_at),
    }


def lock_row(lock: Lock) -> Row:
    return {
        "id": str(lock.pk),
        "lock_key": lock.key,
        "holder_agent_id": lock.holder.name if lock.holder else None,
        "resource_type": lock.resource_type,
        "resource_id": lock.resource_id,
        "fencing_number": lock.fencing_number,
        "expires_at": when(lock.expires_at),
        "created_at": when(lock.acquired_at),
    }
