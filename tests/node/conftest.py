"""A home with a running node server, and a small hub that is linked to it."""

import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.node.hub import SmallHub
from tests.node.parts import NodeProcess, no_process_left, prepare


@pytest.fixture
def prepared(home: Path) -> Iterator[Path]:
    """A home that is ready for its node server, which was not started yet."""
    prepare(home)
    (home / "work").mkdir()
    with no_process_left(home):
        yield home


@pytest.fixture
def idle_node(prepared: Path) -> Iterator[NodeProcess]:
    """A node server that the test starts when it is ready for it."""
    process = NodeProcess(prepared, AGENTHUB_SAFE_PATHS=json.dumps([str(prepared / "work")]))
    yield process
    process.kill()


@pytest.fixture
def node(idle_node: NodeProcess) -> NodeProcess:
    return idle_node.start()


@pytest.fixture(scope="module")
def shared_node() -> Iterator[NodeProcess]:
    """One node server for a whole file of tests that leave it as it was."""
    home = Path(tempfile.mkdtemp(prefix="ahn-", dir="/tmp"))
    prepare(home)
    (home / "work").mkdir()
    with no_process_left(home):
        process = NodeProcess(home, AGENTHUB_SAFE_PATHS=json.dumps([str(home / "work")])).start()
        yield process
        process.kill()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def shared_hub(shared_node: NodeProcess) -> AsyncIterator[SmallHub]:
    """Linked to the shared node."""
    hub = SmallHub(shared_node.home)
    await hub.connect()
    yield hub
    await hub.aclose()


@pytest.fixture
async def hub(prepared: Path) -> AsyncIterator[SmallHub]:
    """Not linked yet: the test says when."""
    hub = SmallHub(prepared)
    yield hub
    await hub.aclose()
