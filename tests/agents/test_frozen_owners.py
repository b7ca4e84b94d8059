"""A process that is stopped in the middle of a transaction is rid of its locks, whatever it was at. PostgreSQL only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from agents import event_table
from agents.event_table import end_frozen_copies
from audit.many import execute_many
from tests.support import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("agenthub_site", "agents", "audit", "integrations", "mailboxes", "nodes")
needs_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="it is about PostgreSQL's sessions")


@pytest.fixture
def session(transactional_db: None) -> Iterator[Any]:
    """Another connection's cursor, in a transaction, of a process that does nothing but what the test has it do."""
    other = connection.copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute("SET idle_in_transaction_session_timeout = 200")
            yield cursor
    finally:
        other.close()


def is_there(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
        return bool(cursor.fetchone()[0])


def pid_of(session: Any) -> int:
    return int(session.connection.info.backend_pid)


@needs_postgresql
def test_whoever_stops_after_writing_many_rows_is_cut_off(session: Any) -> None:
    execute_many(session, "UPDATE agents_run SET last_seq = %s WHERE last_seq = %s", [(1, 2), (2, 3)])
    pid = pid_of(session)
    eventually(lambda: not is_there(pid))


@needs_postgresql
def test_whoever_stops_in_the_middle_of_a_copy_is_cut_off(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = pid_of(session)
    with pytest.raises(psycopg.OperationalError), session.copy(event_table._COPY) as copy:
        monkeypatch.setattr(event_table, "COPY_SECONDS", 60.0)
        assert end_frozen_copies(timezone.now()) == 0, "one that may be at work is left alone"
        monkeypatch.setattr(event_table, "COPY_SECONDS", 0.1)
        eventually(lambda: end_frozen_copies(timezone.now()) == 1)
        eventually(lambda: not is_there(pid))
        while True:
            copy.write(b"\n" * 65_536)


def test_nothing_writes_many_rows_past_it() -> None:
    """psycopg's own way takes the bound on a stopped process's locks away; see ``execute_many``."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert [path.name for path in files if ".executemany(" in path.read_text("utf-8")] == ["many.py"]
