"""What Django itself can check: migrations are written down, a deployed hub has no warnings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent


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
