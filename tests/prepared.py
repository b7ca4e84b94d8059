"""A migrated, empty database, made once per test run and copied for each hub that asks for one.

A hub's first start takes some seconds of migrating, and the tests start dozens. Those that
are about the first start itself simply do not ask.
"""

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

ROOT: Final = Path(__file__).parent.parent
POSTGRES: Final = os.environ.get("AGENTHUB_DATABASE__URL", "")
"""Where the tests are to use PostgreSQL; else they use SQLite."""
SHARED: Final = Path(os.environ.setdefault("AHT_PREPARED", f"{tempfile.gettempdir()}/aht-prepared-{os.getpid()}"))
"""One directory for all workers of a parallel run, which get its name from the process that starts them."""
_LISTED: Final = SHARED / "databases"
"""Names of the databases that were made in PostgreSQL, a line each. The first is what the others are copies of."""


def give_database(home: Path) -> None:
    """Put a migrated SQLite database into ``home``, unless it has one or PostgreSQL is used."""
    place = home / "db.sqlite3"
    if POSTGRES or place.exists():
        return
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone():
        made = SHARED / "db.sqlite3"
        if not made.exists():
            with tempfile.TemporaryDirectory(prefix="ah-", dir="/tmp") as first:
                _migrate(AGENTHUB_HOME=first)
                draft = SHARED / "draft"
                shutil.copy(Path(first, "db.sqlite3"), draft)
                draft.rename(made)
    shutil.copy(made, place)
    place.chmod(0o600)


def own_database(home: Path) -> dict[str, str]:
    """The same on either database: what a hub with this home finds in its environment."""
    give_database(home)
    if not POSTGRES:
        return {}
    name, template = _new_name(), template_database()
    with _alone(), psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        _list(name)
    return {**_shared_services(), "AGENTHUB_DATABASE__URL": _url(name)}


def template_database() -> str:
    """The name of a migrated database in PostgreSQL, to which nobody is connected."""
    with _alone():
        if not _LISTED.exists():
            name = _new_name()
            with psycopg.connect(POSTGRES, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
            with tempfile.TemporaryDirectory(prefix="ah-", dir="/tmp") as home:
                _migrate(AGENTHUB_HOME=home, AGENTHUB_DATABASE__URL=_url(name))
            _list(name)
        return _LISTED.read_text().split()[0]


def forget() -> None:
    """At the end of the test run, by the process that began it."""
    if _LISTED.exists():
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            for name in _LISTED.read_text().split():
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    shutil.rmtree(SHARED, ignore_errors=True)


@contextmanager
def _alone() -> Iterator[None]:
    SHARED.mkdir(mode=0o700, exist_ok=True)
    with (SHARED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _migrate(**environ: str) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AGENTHUB_", "DJANGO_"))}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env={**kept, **environ}, check=True, timeout=120
    )


def _shared_services() -> dict[str, str]:
    return {name: os.environ[name] for name in ("AGENTHUB_REDIS__URL",) if name in os.environ}


def _new_name() -> str:
    return f"agenthub_prepared_{secrets.token_hex(6)}"


def _list(name: str) -> None:
    with _LISTED.open("a") as listed:
        listed.write(f"{name}\n")


def _url(name: str) -> str:
    head, _, _ = POSTGRES.rpartition("/")
    assert conninfo_to_dict(POSTGRES).get("dbname"), f"AGENTHUB_DATABASE__URL names no database: {POSTGRES}"
    return f"{head}/{name}"
