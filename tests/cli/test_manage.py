"""``manage.py`` has the server side too."""

import subprocess
import sys
from pathlib import Path

import pytest

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"


@pytest.mark.parametrize("command", ["web", "controlplane", "worker", "prepare", "runnode"])
def test_every_part_of_the_server_is_a_management_command(command: str) -> None:
    done = subprocess.run(
        [sys.executable, MANAGE, command, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: agenthub")
