"""What the faults have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.supervised import SupervisedRun
from tests.faults.network import Network, new_network


@pytest.fixture
def supervised(home: Path) -> Iterator[SupervisedRun]:
    """A run under its real supervisor; nothing of it is left afterwards."""
    run = SupervisedRun(home)
    yield run
    run.end()


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A hub's namespace, and a node's behind NAT."""
    with new_network() as network:
        yield network
