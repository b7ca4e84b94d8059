"""An adapter with the scripted agent behind it, in a workspace of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from nodes.contract.commands import RuntimeSpec
from nodes.runtimes.acp import AcpRuntime
from nodes.runtimes.presets import PRESETS
from tests.fakes.small_host import Rule, SmallHost, allow

Start = Callable[..., Awaitable[tuple[AcpRuntime, SmallHost]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts the scripted agent without pauses; everything is gone afterwards."""
    started: list[tuple[AcpRuntime, SmallHost]] = []

    async def start_(
        *options: str, rule: Rule = allow, model: str = "", session: str = ""
    ) -> tuple[AcpRuntime, SmallHost]:
        workspace = tmp_path / "work"
        workspace.mkdir(exist_ok=True)
        command = [*PRESETS["scripted"].command, "--pace", "0", *options]
        host = SmallHost(workspace, RuntimeSpec(kind="acp", preset="scripted", command=command, model=model), rule)
        host.spec = host.spec.model_copy(update={"session": session})
        runtime = AcpRuntime()
        started.append((runtime, host))
        host.info = await runtime.start(host)
        return runtime, host

    yield start_
    for runtime, host in started:
        await runtime.close()
        host.end()
