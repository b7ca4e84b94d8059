"""Client commands must not pay for what the server needs."""

import subprocess
import sys
import time

import pytest

PROBE = """
import sys
from agenthub_site.main import main
code = main({arguments!r})
heavy = sorted({{name.split(".")[0] for name in sys.modules}} & {{"django", "grpc", "pydantic", "rich", "structlog"}})
print("loaded:", *heavy)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "command", [["runs"], ["logs", "last", "--follow"], ["token", "list"], ["node", "list"], ["nonsense"], ["--help"]]
)
def test_a_client_command_loads_neither_django_nor_grpc(command: list[str], tmp_path: object) -> None:
    environ = {"AGENTHUB_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=command)],
        capture_output=True,
        text=True,
        env=environ,
        check=False,
    )
    print(f"agenthub {' '.join(command)}: {(time.monotonic() - began) * 1000:.0f} ms")
    assert ended.stdout.splitlines()[-1] == "loaded:"


def test_the_parent_of_up_loads_neither_django_nor_grpc() -> None:
    code = (
        "import agenthub_site.up, sys; print('django' in sys.modules, 'grpc' in sys.modules, 'pydantic' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "False", "False"]
