"""Real agents take up an earlier run's session in a new process, as a run that goes on from another one has them do."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from nodes.contract.events import MessageDelta
from nodes.contract.runtime import TurnEnd
from nodes.runtimes.acp import AcpRuntime
from tests.fakes.model_server import ModelServer, model_server
from tests.fakes.small_host import SmallHost
from tests.peers.agents import Peer

pytestmark = pytest.mark.timeout(180)
TURN_SECONDS = 60.0


async def test_a_session_goes_on_in_a_new_process(peer: Peer, tmp_path: Path) -> None:
    await goes_on(peer, tmp_path, is_killed=False)


async def test_a_session_of_an_agent_that_was_killed_goes_on(peer: Peer, tmp_path: Path) -> None:
    await goes_on(peer, tmp_path, is_killed=True)


async def goes_on(peer: Peer, root: Path, *, is_killed: bool) -> None:
    """The model is asked with what was said before; of that nothing is told a second time."""
    (root / "work").mkdir()
    async with model_server(str(root / "work")) as model:
        session = await first_run(peer, root, model, is_killed=is_killed)
        asked = len(model.bodies)
        host = host_of(peer, root, model)
        host.spec = host.spec.model_copy(update={"session": session})
        runtime = AcpRuntime()
        try:
            info = await asyncio.wait_for(runtime.start(host), TURN_SECONDS)
            assert (info.session_id, info.has_resumed) == (session, True)
            assert host.of(MessageDelta) == []
            assert await asyncio.wait_for(runtime.prompt("[[say second]]"), TURN_SECONDS) == TurnEnd("end_turn")
            assert "second" in host.said() and "the-first" not in host.said()
            assert any("the-first" in str(body) and "second" in str(body) for body in model.bodies[asked:])
            await runtime.close()
        finally:
            host.end()


async def first_run(peer: Peer, root: Path, model: ModelServer, *, is_killed: bool) -> str:
    """One turn and its end; the session's id."""
    host, runtime = host_of(peer, root, model), AcpRuntime()
    try:
        info = await asyncio.wait_for(runtime.start(host), TURN_SECONDS)
        assert info.may_resume
        assert await asyncio.wait_for(runtime.prompt("[[say the-first]]"), TURN_SECONDS) == TurnEnd("end_turn")
        if is_killed and host.process:
            os.kill(host.process.pid, signal.SIGKILL)
        await runtime.close()
    finally:
        host.end()
    return info.session_id


def host_of(peer: Peer, root: Path, model: ModelServer) -> SmallHost:
    return SmallHost(root / "work", peer.runtime(root / "home", model.url))
