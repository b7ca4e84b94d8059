"""Bring the database to this version: never downwards, and never without a copy of a SQLite file."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from nodes.contract.errors import ConfigError, Conflict

COPIES_KEPT = 5
MIGRATION_LOCK = 0x61676874  # "aght": the advisory lock under which a PostgreSQL is migrated


class NewerDatabase(Conflict):
    """The database was made by a newer version."""

    code = "newer_database"


def upgrade() -> bool:
    """Apply what is missing; True if something was. Raises ``NewerDatabase``, or ``ConfigError`` without a database."""
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        raise ConfigError(f"The database cannot be used: {error} Check database.url and the home.") from error
    with _alone():
        executor = MigrationExecutor(connection)
        unknown = sorted(
            f"{app}.{name}"
            for app, name in executor.loader.applied_migrations
            if app in executor.loader.migrated_apps and (app, name) not in executor.loader.disk_migrations
        )
        if unknown:
            raise NewerDatabase(
                f"This database was made by a newer AgentHub: it has {', '.join(unknown)}, which this version does not "
                "know. Install that version again, or go back to a copy from the home's directory backups/.",
                migrations=unknown,
            )
        if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return False
        if connection.vendor == "sqlite" and executor.loader.applied_migrations:
            copy = copy_sqlite(settings.CONFIG.home / "backups")
            sys.stderr.write(f"The database is upgraded; a copy of it as it was is {copy}.\n")
        call_command("migrate", interactive=False, verbosity=0)
    return True


def copy_sqlite(directory: Path) -> Path:
    """A consistent copy (0600) under ``directory``; the last ``COPIES_KEPT`` are kept."""
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / f"db-{timezone.now():%Y%m%dT%H%M%S}.sqlite3"
    draft = path.with_suffix(".part")
    draft.touch(mode=0o600)
    database = settings.DATABASES["default"]["NAME"]
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(draft)) as target:
        source.backup(target)
    draft.replace(path)
    for old in sorted(directory.glob("db-*.sqlite3"))[:-COPIES_KEPT]:
        old.unlink()
    return path


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time: the home's lock sees to it on SQLite, an advisory lock on PostgreSQL."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
