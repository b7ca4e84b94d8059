"""``docs/runtimes.md`` names what there is."""

import subprocess
from pathlib import Path

import pytest

from nodes.contract.runtime import Preset
from nodes.runtimes.presets import PRESETS
from nodes.runtimes.scripted.story import DIRECTIVES

PAGE = (Path(__file__).parents[2] / "docs" / "runtimes.md").read_text("utf-8")


@pytest.mark.parametrize("name", sorted(DIRECTIVES))
def test_every_directive_is_documented(name: str) -> None:
    assert f"`@{name}" in PAGE


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_every_preset_is_documented(preset: Preset) -> None:
    assert f"| `{preset.name}` |" in PAGE
    assert preset.install_hint


def test_the_scripted_agent_imports_the_standard_library_only() -> None:
    preset = PRESETS["scripted"]
    code = "import sys, nodes.runtimes.scripted.__main__; print(*sys.modules)"
    command = [preset.command[0], "-S", "-c", code]  # without site-packages at all
    told = subprocess.run(command, env=dict(preset.environment), capture_output=True, text=True, check=True)
    assert "pydantic" not in told.stdout.split()
