"""What Django itself can check: migrations are written down, a deployed hub has no warnings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent


def test_what_touches_the_database_runs_on_both() -> None:
    """``make test`` gives PostgreSQL the directories that the Makefile names."""
    makefile = (ROOT / "Makefile").read_text()
    named = re.search(r"^DATABASE_TESTS := (.*)$", makefile, re.MULTILINE)
    assert named
    whole = {path.parts[0] for path in _marked()} - {"faults"}  # which make databases of their own
    assert whole <= {*re.findall(r"[\w.]+", named[1])}


def _marked() -> set[Path]:
    tests = ROOT / "tests"
    return {path.relative_to(tests) for path in tests.rglob("test_*.py") if "mark.django_db" in path.read_text("utf-8")}


@pytest.mark.django_db
def test_models_have_their_migrations() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_a_deployed_hub_passes_djangos_checks(home: Path) -> None:
    environment = {
        **os.environ,
        "AGENTHUB_HOME": str(home),
        "AGENTHUB_SERVER__PUBLIC_URL": "https://hub.example.org",
        "AGENTHUB_SERVER__LISTEN": "0.0.0.0:8080",
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
