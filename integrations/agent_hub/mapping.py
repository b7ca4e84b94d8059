"""What a row of agent-hub-mcp's database is here. That package's states are not always those that it documents."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from agents.coordination.services.assignments import Work
from agents.coordination.services.importing import GivenAssignment, GivenHandoff, GivenLock, GivenRound, GivenTask
from agents.coordination.states import HELD, WORKING, AssignmentState, RoundState, TaskState
from agents.models import Agent
from integrations.cli.old_hub import OldHub, Row

OPERATOR: Final = "hubctl of agent-hub-mcp"
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TASK_OF_ROUND: Final = {
    RoundState.AWAITING_OPERATOR_APPROVAL: TaskState.AWAITING_OPERATOR_APPROVAL,
    RoundState.DISPATCHED: TaskState.DISPATCHED,
    RoundState.IN_PROGRESS: TaskState.DISPATCHED,
    RoundState.AWAITING_REVIEW: TaskState.DISPATCHED,
}
"""A task is as its last round has it; with any other, its dispatcher plans: it is a draft."""


class OldRows:
    """The rows of a project's old hub, by what they belong to."""

    def __init__(self, project_id: UUID, old: OldHub, agents: Mapping[str, Agent]) -> None:
        self._project_id = project_id
        self._old = old
        self._agents = agents
        self._rounds = _by("task_id", sorted(old.rounds, key=lambda row: row["round_number"]))
        self._assignments = _by("round_id", old.assignments)
        self._decisions = {row["round_id"]: row for row in old.approvals}
        self._handoffs = {row["id"]: row for row in old.handoffs}
        self._last_handoff = {row["assignment_id"]: row for row in old.handoffs}

    def id_of(self, kind: str, row: Row) -> UUID:
        """Always the same for the same row, and sorted by its age as all ids are (UUIDv7)."""
        seed = hashlib.sha256(f"{self._project_id}:{kind}:{row['id']}".encode()).digest()
        milliseconds = max(0, int((row["created_at"] or BEGINNING).timestamp() * 1_000))
        made = bytearray(milliseconds.to_bytes(6, "big") + seed[:10])
        made[6], made[8] = made[6] & 0x0F | 0x70, made[8] & 0x3F | 0x80
        return UUID(bytes=bytes(made))

    def task(self, row: Row) -> GivenTask:
        rows = self._rounds[row["id"]]
        rounds = [self._round(each, is_last=each is rows[-1]) for each in rows]
        state = _TASK_OF_ROUND.get(rounds[-1].state, TaskState.DRAFT) if rounds else TaskState.DRAFT
        title = one_line(row["title"]) or row["id"]
        description = clean(row["description"])
        if len(title) > 200:
            title, description = title[:200], f"{title}\n\n{description}".strip()
        return GivenTask(
            self.id_of("task", row), row["id"], title, description, state, self._agents[row["creator_agent_id"]],
            row["created_at"] or BEGINNING, self._old.messages_of_tasks.get(row["id"], 0), rounds,
        )  # fmt: skip

    def lock(self, row: Row) -> GivenLock:
        return GivenLock(
            row["lock_key"], self._agents[row["holder_agent_id"]], one_line(row["resource_type"])[:64],
            one_line(row["resource_id"])[:255], row["expires_at"],
        )  # fmt: skip

    def _round(self, row: Row, *, is_last: bool) -> GivenRound:
        items = self._assignments[row["id"]]
        decision = self._decisions.get(row["id"])
        is_rejected = bool(decision) and decision["operator_action"] == "reject"  # type: ignore[index]
        state = _round_state(row["status"], [item["status"] for item in items], is_last, is_rejected)
        return GivenRound(
            self.id_of("round", row), state, OPERATOR if decision else "",
            decision["created_at"] if decision else None, clean(decision["operator_note"]) if decision else "",
            row["created_at"] or BEGINNING, [self._assignment(each, state) for each in items],
        )  # fmt: skip

    def _assignment(self, row: Row, round_state: RoundState) -> GivenAssignment:
        state = _assignment_state(AssignmentState(row["status"]), round_state)
        found = self._handoffs.get(row["handoff_id"]) or self._last_handoff.get(row["id"])
        handoff, note = None, clean(row["progress_note"])
        if found and state == AssignmentState.COMPLETED:
            handoff = GivenHandoff(
                self.id_of("handoff", found), self._agents[found["from_agent"]], _work(found),
                found["created_at"] or BEGINNING,
            )  # fmt: skip
        elif found:  # that package let work be done that no operator had approved
            place = " ".join(filter(None, (one_line(found["branch"]), one_line(found["commit_hash"]))))
            note = f"{note}\nIt was handed over before its plan was approved: {place or 'without a branch'}.".strip()
        is_begun = state != AssignmentState.PENDING
        return GivenAssignment(
            self.id_of("assignment", row), self._agents[row["agent_id"]], clean(row["goal"]), state,
            row["claimed_at"] if is_begun else None, row["started_at"] if is_begun else None,
            row["completed_at"] if state == AssignmentState.COMPLETED else None,
            row["lease_expires_at"] if state in HELD else None, note, row["created_at"] or BEGINNING, handoff,
        )  # fmt: skip


def _by(column: str, rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return found


def _round_state(status: str, items: Sequence[str], is_last: bool, is_rejected: bool) -> RoundState:
    """That package never set ``in_progress``, left rounds that were to be changed as they were, and rejected none."""
    said = RoundState(status)
    if said == RoundState.COMPLETED:
        return said
    if said == RoundState.AWAITING_OPERATOR_APPROVAL and is_rejected:
        return RoundState.REJECTED
    if not is_last:
        return RoundState.CHANGES_REQUESTED if said == RoundState.AWAITING_REVIEW else RoundState.CANCELLED
    if not items:  # it could never have ended
        return RoundState.CANCELLED
    if said == RoundState.AWAITING_OPERATOR_APPROVAL:
        return said
    if set(items) <= {AssignmentState.COMPLETED, AssignmentState.CANCELLED}:
        return RoundState.AWAITING_REVIEW
    return RoundState.DISPATCHED if set(items) == {AssignmentState.PENDING} else RoundState.IN_PROGRESS


def _assignment_state(said: AssignmentState, round_state: RoundState) -> AssignmentState:
    if round_state == RoundState.AWAITING_OPERATOR_APPROVAL:
        return AssignmentState.PENDING
    is_settled = said in (AssignmentState.COMPLETED, AssignmentState.CANCELLED)
    return said if is_settled or round_state in WORKING else AssignmentState.CANCELLED


def _work(row: Row) -> Work:
    branch, commit = one_line(row["branch"]), one_line(row["commit_hash"])
    notes = clean(row["notes"])
    if len(branch) > 255 or len(commit) > 64:
        notes = f"{notes}\n{branch} {commit}".strip()
    return Work(
        branch=branch[:255], commit_hash=commit[:64], changed_files=_lines(row["changed_files"]),
        tests_run=_lines(row["tests_run"]), risks=clean(row["risks"]), next_steps=clean(row["next_steps"]), notes=notes,
    )  # fmt: skip


def _lines(text: str | None) -> list[str]:
    """A JSON list of texts; what is none is one text, or none."""
    try:
        said = json.loads(text or "[]")
    except (ValueError, RecursionError):
        said = text
    if not isinstance(said, list):
        said = [said]
    return [one_line(each if isinstance(each, str) else json.dumps(each)) for each in said if each]


def clean(text: Any) -> str:
    """What every database takes."""
    return str(text or "").replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


KIND_CHARS: Final = 32


def message_kind(said: str | None) -> str:
    """What a message is, in a word that is one here: ``Status update`` is ``statusupdate``; ``info`` if it is none."""
    word = "".join(char for char in (said or "").lower() if char.isascii() and (char.isalnum() or char == "_"))
    return word[:KIND_CHARS] if word[:1].isalpha() else "info"


def one_line(text: Any) -> str:
    return "".join(char if char.isprintable() else " " for char in clean(text)).strip()
