"""The trail is append-only in the database itself: triggers refuse to change or remove audit events."""

from django.db.backends.base.base import BaseDatabaseWrapper

_REFUSAL = "audit events are never changed or removed"

_PROTECT = {
    "sqlite": [
        f"CREATE TRIGGER audit_event_not_{verb}d BEFORE {verb.upper()} ON audit_auditevent "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        for verb in ("update", "delete")
    ],
    "postgresql": [
        "CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'integrity_constraint_violation'; END $$",
        "CREATE TRIGGER audit_event_not_changed BEFORE UPDATE OR DELETE ON audit_auditevent "
        "FOR EACH ROW EXECUTE FUNCTION audit_refuse_change()",
        "CREATE TRIGGER audit_event_not_truncated BEFORE TRUNCATE ON audit_auditevent "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change()",
    ],
}
_UNPROTECT = {
    "sqlite": ["DROP TRIGGER IF EXISTS audit_event_not_updated", "DROP TRIGGER IF EXISTS audit_event_not_deleted"],
    "postgresql": ["DROP FUNCTION IF EXISTS audit_refuse_change CASCADE"],
}


def protect(connection: BaseDatabaseWrapper) -> None:
    """Put the triggers in place."""
    _execute(connection, _PROTECT[connection.vendor])


def unprotect(connection: BaseDatabaseWrapper) -> None:
    """Take the triggers away: to migrate backwards, and for tests that empty all tables."""
    _execute(connection, _UNPROTECT[connection.vendor])


def _execute(connection: BaseDatabaseWrapper, statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
