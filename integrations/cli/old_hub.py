"""agent-hub-mcp's database, read without touching it: what is alive in it. Standard library only.

The schema is that of its version 0.2: nine tables, states as texts, times in ISO 8601 or as SQLite prints them (UTC).
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from agents.coordination.states import AssignmentState, RoundState, TaskState

from .agents_env import BadFile

Row = dict[str, Any]

COLUMNS: Final = {
    "agents": ("id", "name", "capabilities"),
    "root_tasks": ("id", "title", "description", "status", "creator_agent_id", "created_at"),
    "rounds": ("id", "task_id", "round_number", "status", "created_at"),
    "assignments": (
        "id", "round_id", "agent_id", "goal", "status", "claimed_at", "started_at", "completed_at", "lease_expires_at",
        "progress_note", "handoff_id", "created_at",
    ),
    "handoffs": (
        "id", "assignment_id", "from_agent", "branch", "commit_hash", "changed_files", "tests_run", "risks",
        "next_steps", "notes", "created_at",
    ),
    "messages": (
        "id", "reply_to", "from_agent", "to_agent", "round_id", "msg_type", "subject", "body", "is_read", "created_at",
    ),
    "locks": ("lock_key", "holder_agent_id", "resource_type", "resource_id", "expires_at"),
    "operator_approvals": ("round_id", "operator_action", "operator_note", "created_at"),
}  # fmt: skip
"""What is read of each table. One that lacks any of it is not that package's."""
ENDED: Final = ("completed", "closed")


@dataclass(slots=True)
class OldHub:
    """Tasks that are not over, with all that is theirs, in the order in which it came; unread mail; locks that hold."""

    agents: list[Row] = field(default_factory=list)
    """Those that any of the rest names, registered or not."""
    tasks: list[Row] = field(default_factory=list)
    rounds: list[Row] = field(default_factory=list)
    assignments: list[Row] = field(default_factory=list)
    handoffs: list[Row] = field(default_factory=list)
    approvals: list[Row] = field(default_factory=list)
    messages: list[Row] = field(default_factory=list)
    messages_of_tasks: dict[str, int] = field(default_factory=dict)
    """How many messages named one of a task's rounds, read ones among them."""
    locks: list[Row] = field(default_factory=list)
    ended_tasks: int = 0
    read_messages: int = 0
    expired_locks: int = 0


def read_old_hub(path: Path, now: datetime) -> OldHub:
    """What is alive at ``now``. Raises ``BadFile`` for a file that is damaged, or not that package's database.

    A copy is read, since SQLite writes beside a database in WAL mode even when it only reads.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="agenthub-old-") as directory:
            copy = Path(directory, "hub.db")
            shutil.copyfile(path, copy)
            if (log := path.with_name(f"{path.name}-wal")).exists():
                shutil.copyfile(log, copy.with_name("hub.db-wal"))
            with closing(sqlite3.connect(copy)) as database:
                database.row_factory = sqlite3.Row
                _check(path, database)
                return _alive(database, now)
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.") from error
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise BadFile(f"{path} cannot be read as agent-hub-mcp's database: {error}.") from error


def _check(path: Path, database: sqlite3.Connection) -> None:
    (problem,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if problem != "ok":
        raise BadFile(f"{path} is damaged, or its server is writing to it: {problem}.")
    for table, columns in COLUMNS.items():
        found = {row["name"] for row in database.execute(f"PRAGMA table_info({table})")}
        if missing := [column for column in columns if column not in found]:
            what = f"its table {table} has no {', '.join(missing)}" if found else f"it has no table {table}"
            raise BadFile(f"{path} is not agent-hub-mcp's database: {what}.")


def _alive(database: sqlite3.Connection, now: datetime) -> OldHub:
    tasks = _all(database, "root_tasks")
    alive = [task for task in tasks if task["status"] not in ENDED]
    rounds = _of(_all(database, "rounds"), "task_id", alive)
    assignments = _of(_all(database, "assignments"), "round_id", rounds)
    mail = _all(database, "messages")
    locks = _all(database, "locks")
    task_of = {row["id"]: row["task_id"] for row in rounds}
    counted: dict[str, int] = {}
    for message in mail:
        if task := task_of.get(message["round_id"]):
            counted[task] = counted.get(task, 0) + 1
    found = OldHub(
        tasks=alive, rounds=rounds, assignments=assignments,
        handoffs=_of(_all(database, "handoffs"), "assignment_id", assignments),
        approvals=_of(_all(database, "operator_approvals"), "round_id", rounds),
        messages=[message for message in mail if not message["is_read"]],
        messages_of_tasks=counted,
        locks=[lock for lock in locks if lock["expires_at"] and lock["expires_at"] > now],
    )  # fmt: skip
    found.ended_tasks = len(tasks) - len(alive)
    found.read_messages = len(mail) - len(found.messages)
    found.expired_locks = len(locks) - len(found.locks)
    for rows, states in ((tasks, TaskState), (rounds, RoundState), (assignments, AssignmentState)):
        if strange := {row["status"] for row in rows} - set(states):
            raise ValueError(f"it has the state {min(map(str, strange))!r}")
    registered = {agent["id"]: agent for agent in _all(database, "agents")}
    unknown = {"name": "", "capabilities": "[]"}
    found.agents = [registered.get(name) or {"id": name, **unknown} for name in sorted(_named(found))]
    return found


def _all(database: sqlite3.Connection, table: str, order: str = "rowid") -> list[Row]:
    columns = ", ".join(COLUMNS[table])
    rows = database.execute(f"SELECT {columns} FROM {table} ORDER BY {order}")  # noqa: S608
    return [{name: _value(name, value) for name, value in dict(row).items()} for row in rows]


def _value(column: str, value: Any) -> Any:
    """SQLite keeps anything in any column: numbers and times are made of what should be some, texts of the rest."""
    if column in ("round_number", "is_read"):
        return int(value)
    if column.endswith("_at"):
        time = datetime.fromisoformat(str(value)) if value else None
        return time.replace(tzinfo=UTC) if time and not time.tzinfo else time
    return None if value is None else str(value)


def _of(rows: Iterable[Row], column: str, parents: Iterable[Row]) -> list[Row]:
    ids = {parent["id"] for parent in parents}
    return [row for row in rows if row[column] in ids]


def _named(found: OldHub) -> set[str]:
    names = {task["creator_agent_id"] for task in found.tasks}
    names |= {item["agent_id"] for item in found.assignments} | {item["from_agent"] for item in found.handoffs}
    names |= {lock["holder_agent_id"] for lock in found.locks}
    names |= {name for message in found.messages for name in (message["from_agent"], message["to_agent"]) if name}
    return names
