"""Presets of both kinds: how each is started, and what an agent that names one becomes."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from nodes.contract.commands import RuntimeSpec
from nodes.contract.events import Output
from nodes.contract.runtime import Preset, RuntimeFailed
from nodes.runtimes.acp import AcpRuntime
from nodes.runtimes.command import PLACE, CommandRuntime
from nodes.runtimes.presets import PRESETS
from tests.fakes.small_host import SmallHost

COMMANDS = [preset for preset in PRESETS.values() if preset.kind == "command"]


@pytest.mark.parametrize("preset", COMMANDS, ids=lambda preset: preset.name)
def test_a_command_preset_has_a_place_for_the_prompt(preset: Preset) -> None:
    assert preset.command.count(PLACE) == 1 and preset.command[-2].startswith("--")


@pytest.mark.parametrize("preset", COMMANDS, ids=lambda preset: preset.name)
async def test_a_command_preset_is_started_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: Preset
) -> None:
    """A program of that name stands in, and says how it was called."""
    program = tmp_path / "bin" / preset.command[0]
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor each in "$@"; do echo "<$each>"; done; echo "MSWEA=$MSWEA_CONFIGURED"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (tmp_path / "workspace").mkdir()
    host = SmallHost(tmp_path / "workspace", RuntimeSpec(kind="command", preset=preset.name))
    host.spec = host.spec.model_copy(update={"prompt": "fix it"})
    runtime = CommandRuntime()
    await runtime.start(host)
    try:
        async with asyncio.timeout(30):
            end = await runtime.prompt("fix it")
        await runtime.close()
    finally:
        host.end()
    said = "".join(event.text for event in host.of(Output)).splitlines()
    assert not end.is_failure
    assert said[:-1] == [f"<{part.replace(PLACE, 'fix it')}>" for part in preset.command[1:]]
    assert said[-1] == f"MSWEA={preset.environment.get('MSWEA_CONFIGURED', '')}"


async def test_a_command_preset_does_not_speak_acp(tmp_path: Path) -> None:
    host = SmallHost(tmp_path, RuntimeSpec(kind="acp", preset="aider"))
    with pytest.raises(RuntimeFailed, match="no preset aider that speaks ACP"):
        await AcpRuntime().start(host)
