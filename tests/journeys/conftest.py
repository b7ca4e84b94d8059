from collections.abc import Iterator
from pathlib import Path

import pytest

from .hub import Hub, new_hub, running_hub


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A hub that is up, for the tests of one file."""
    with running_hub() as hub:
        yield hub


@pytest.fixture
def own_hub(home: Path) -> Iterator[Hub]:
    """A hub of one test's own, not started, which makes its database itself."""
    with new_hub(home, first_start=True) as hub:
        yield hub
