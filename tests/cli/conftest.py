from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integrations.cli.commands import main
from integrations.cli.where import Where

from .small_hub import SmallHub, serve, story

Cli = Callable[..., int]


@pytest.fixture
def hub(home: Path) -> Iterator[SmallHub]:
    small = SmallHub(events=story())
    with serve(small, home / "hub.sock"):
        yield small


@pytest.fixture
def cli(home: Path) -> Cli:
    """Run a client command against the home's hub; returns the exit code."""

    def run(command: str, *arguments: str) -> int:
        return main(command, arguments, Where(home))

    return run
