"""What the faults have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.supervised import SupervisedRun


@pytest.fixture
def supervised(home: Path) -> Iterator[SupervisedRun]:
    """A run under its real supervisor; nothing of it is left afterwards."""
    run = SupervisedRun(home)
    yield run
    run.end()
