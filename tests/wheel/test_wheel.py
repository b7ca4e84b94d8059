"""The wheel holds everything: installed into an empty environment, it starts, serves its pages and runs the demo."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.hub import Hub, new_hub

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]

SOURCE = Path(__file__).parents[2]
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs of an environment that has the wheel and nothing else."""
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, *PIP, "wheel", "--no-deps", "-w", place, SOURCE], check=True)
    subprocess.run([sys.executable, "-m", "venv", place / "empty"], check=True)
    (wheel,) = place.glob("agenthub-*.whl")
    subprocess.run([place / "empty/bin/python", *PIP, "install", "--root-user-action=ignore", wheel], check=True)
    return place / "empty" / "bin"


@pytest.fixture
def hub(installed: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir("/")  # where nothing of the source can be imported from
    with new_hub(home, (str(installed / "agenthub"),)) as hub:
        yield hub


def test_an_installed_wheel_starts_serves_and_runs(hub: Hub) -> None:
    """B1 of agent-hub-mcp: its wheel lacked what its tools needed."""
    told = hub.up()
    for path in ("/login/", "/static/agenthub/app.css", "/admin/login/", "/healthz"):
        with urllib.request.urlopen(told["address"] + path, timeout=10) as answer:
            assert answer.status == 200 and answer.read()
    ended = hub.cli("run", "demo", "hi", "--follow")
    assert ended.returncode == 0, ended.stderr + hub.logs()
    assert hub.stop() == 0
