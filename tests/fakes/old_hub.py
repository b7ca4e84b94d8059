"""A database as agent-hub-mcp 0.2 leaves it: its tables and columns, with rows of a test's."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from integrations.cli.old_hub import COLUMNS

WHEN = "2026-01-02T03:04:05.678901+00:00"
_DEFAULTS: dict[str, Any] = {
    "created_at": WHEN, "status": "pending", "title": "Mend the nets", "description": "", "goal": "Mend", "name": "",
    "capabilities": "[]", "progress_note": "", "changed_files": "[]", "tests_run": "[]", "msg_type": "info",
    "subject": "", "body": "", "is_read": 0, "round_number": 1, "resource_type": "branch", "resource_id": "",
    "operator_note": "", "branch": "", "commit_hash": "", "risks": "", "next_steps": "", "notes": "",
}  # fmt: skip


class FakeOldHub:
    """Rows are added by table, with what is not said as that package has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as database, database:
            for table, columns in COLUMNS.items():
                listed = ", ".join(f"{column} TEXT" if column != "is_read" else "is_read INTEGER" for column in columns)
                database.execute(f"CREATE TABLE {table} ({listed})")

    def add(self, table: str, **values: Any) -> str:
        """A row; its id."""
        row = {name: values.get(name, _DEFAULTS.get(name)) for name in COLUMNS[table]}
        with closing(sqlite3.connect(self.path)) as database, database:
            names, places = ", ".join(row), ", ".join("?" * len(row))
            database.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", list(row.values()))
        return str(row.get("id", ""))

    def change(self, table: str, id_: str, **values: Any) -> None:
        with closing(sqlite3.connect(self.path)) as database, database:
            changed = ", ".join(f"{name} = ?" for name in values)
            database.execute(f"UPDATE {table} SET {changed} WHERE id = ?", [*values.values(), id_])

    def task(self, id_: str, status: str = "dispatched", by: str = "ada") -> str:
        return self.add("root_tasks", id=id_, status=status, creator_agent_id=by)

    def round(self, task: str, number: int = 1, status: str = "dispatched", *items: str) -> str:
        """Of a task, with an assignment of wim's in each state of ``items``."""
        id_ = self.add("rounds", id=f"{task}-{number}", task_id=task, round_number=number, status=status)
        for count, state in enumerate(items):
            self.add("assignments", id=f"{id_}-{count}", round_id=id_, agent_id="wim", status=state)
        return id_
