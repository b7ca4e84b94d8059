"""A migrated, empty SQLite database, made once per test run and copied into each home that asks for one.

A hub's first start takes some seconds of migrating, and the tests start dozens. Those that
are about the first start itself simply do not ask.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED = Path(tempfile.gettempdir()) / f"aht-prepared-{os.environ.get('PYTEST_XDIST_TESTRUNUID') or os.getpid()}"
"""One directory for all workers of a parallel run."""


def give_database(home: Path) -> None:
    """Put the database that `migrate` makes into ``home``, unless it has one or PostgreSQL is used."""
    place = home / "db.sqlite3"
    if os.environ.get("AGENTHUB_DATABASE__URL") or place.exists():
        return
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy(_prepared(), place)
    place.chmod(0o600)


def forget() -> None:
    shutil.rmtree(SHARED, ignore_errors=True)


def _prepared() -> Path:
    SHARED.mkdir(mode=0o700, exist_ok=True)
    made = SHARED / "db.sqlite3"
    with (SHARED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory(prefix="ah-", dir="/tmp") as home:
                kept = {key: value for key, value in os.environ.items() if not key.startswith(("AGENTHUB_", "DJANGO_"))}
                subprocess.run(
                    [sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env={**kept, "AGENTHUB_HOME": home},
                    check=True, timeout=120,
                )  # fmt: skip
                draft = SHARED / "draft"
                shutil.copy(Path(home, "db.sqlite3"), draft)
                draft.rename(made)
    return made
