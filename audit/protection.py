"""The trail is append-only in the database itself: triggers refuse to change, replace or remove what is in it."""

from collections.abc import Iterable
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

EVENTS: Final = "audit_auditevent"
TABLES: Final = (EVENTS, "audit_auditcheckpoint", "audit_auditkey")
_REFUSAL: Final = "audit events are never changed or removed"

_SAME_ROW: Final = {
    EVENTS: "id = NEW.id OR (stream = NEW.stream AND number = NEW.number)",
    "audit_auditcheckpoint": "serial = NEW.serial OR (stream = NEW.stream AND (first = NEW.first OR last = NEW.last))",
    "audit_auditkey": "key = NEW.key",
}
"""What ``INSERT OR REPLACE`` would put a row in the place of, which fires no trigger for the row that goes."""


def _sqlite(table: str) -> list[str]:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    same = f"EXISTS (SELECT 1 FROM {table} WHERE rowid = NEW.rowid OR {_SAME_ROW[table]})"  # noqa: S608
    return [
        f"CREATE TRIGGER {table}_not_updated BEFORE UPDATE ON {table} {refuse}",
        f"CREATE TRIGGER {table}_not_deleted BEFORE DELETE ON {table} {refuse}",
        f"CREATE TRIGGER {table}_not_replaced BEFORE INSERT ON {table} WHEN {same} {refuse}",
    ]


def _postgresql(table: str) -> list[str]:
    """``ALWAYS``: also in a session that plays a replica, which skips other triggers."""
    run = "EXECUTE FUNCTION audit_refuse_change()"
    return [
        f"CREATE TRIGGER {table}_not_changed BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {run}",
        f"CREATE TRIGGER {table}_not_truncated BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {run}",
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_not_changed",
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_not_truncated",
    ]


_FUNCTION: Final = (
    "CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
)
_FORMER: Final = ("audit_event_not_updated", "audit_event_not_deleted")
_KINDS: Final = {"sqlite": ("updated", "deleted", "replaced"), "postgresql": ("changed", "truncated")}


def protect(connection: BaseDatabaseWrapper, tables: Iterable[str] = TABLES) -> None:
    """Put the triggers in place."""
    if connection.vendor == "postgresql":
        _execute(connection, [_FUNCTION, *(line for table in tables for line in _postgresql(table))])
    else:
        _execute(connection, [line for table in tables for line in _sqlite(table)])


def unprotect(connection: BaseDatabaseWrapper) -> None:
    """Take the triggers away: to migrate, and for tests that empty all tables."""
    if connection.vendor == "postgresql":
        _execute(connection, ["DROP FUNCTION IF EXISTS audit_refuse_change CASCADE"])
    else:
        names = [*_FORMER, *(f"{table}_not_{kind}" for table in TABLES for kind in _KINDS["sqlite"])]
        _execute(connection, [f"DROP TRIGGER IF EXISTS {name}" for name in names])


def missing_triggers(connection: BaseDatabaseWrapper) -> list[str]:
    """The names of those that are not there, or switched off: then somebody took the protection away."""
    asked = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'A'",
    }
    with connection.cursor() as cursor:
        cursor.execute(asked[connection.vendor])
        found = {name for (name,) in cursor.fetchall()}
    return [
        name for table in TABLES for kind in _KINDS[connection.vendor] if (name := f"{table}_not_{kind}") not in found
    ]


def _execute(connection: BaseDatabaseWrapper, statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
