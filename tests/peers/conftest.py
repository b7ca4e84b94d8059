"""A real agent, started by its preset in an empty home, talking to the local model server."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nodes.runtimes.acp import AcpRuntime
from tests.fakes.model_server import ModelServer, model_server
from tests.fakes.small_host import SmallHost
from tests.peers.agents import BIN, PEERS, Peer


@dataclass
class Driven:
    peer: Peer
    runtime: AcpRuntime
    host: SmallHost
    model: ModelServer


@pytest.fixture(params=sorted(PEERS))
def peer(request: pytest.FixtureRequest) -> Peer:
    assert (BIN / "opencode").exists(), "The real agents are not installed: run 'make peers' or tests/peers/install.sh"
    return PEERS[request.param]


@pytest.fixture
async def driven(peer: Peer, tmp_path: Path) -> AsyncIterator[Driven]:
    workspace = tmp_path / "work"
    workspace.mkdir()
    async with model_server(str(workspace)) as model:
        host = SmallHost(workspace, peer.runtime(tmp_path / "home", model.url))
        runtime = AcpRuntime()
        try:
            await runtime.start(host)
            yield Driven(peer, runtime, host, model)
            await runtime.close()
        finally:
            host.end()
