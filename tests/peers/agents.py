"""The real agents: where they are, and how each is pointed at the local model server.

They are installed by ``make peers`` into ``.peers/`` from the pinned ``package-lock.json``
beside this file. None is part of the product; Claude Code's binary is proprietary and is
never redistributed.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nodes.contract.commands import RuntimeSpec
from nodes.runtimes.presets import PRESETS

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".peers" / "node_modules" / ".bin"


@dataclass(frozen=True)
class Peer:
    """A real agent. ``configure`` writes its files under an empty home and names its variables."""

    preset: str
    configure: Callable[[Path, str], dict[str, str]]
    goes_on_after_reject: bool
    stop_after_reject: str = "end_turn"

    def runtime(self, home: Path, model_url: str) -> RuntimeSpec:
        """How a node would start it: the preset's own command and switches, in a home of its own."""
        home.mkdir(parents=True, exist_ok=True)
        environment = {
            "HOME": str(home),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_DATA_HOME": str(home / ".local/share"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_STATE_HOME": str(home / ".local/state"),
            **self.configure(home, model_url),
        }
        program, *rest = PRESETS[self.preset].command
        command = [str(BIN / program), *rest]
        return RuntimeSpec(kind="acp", preset=self.preset, command=command, environment=environment)


def opencode(home: Path, url: str) -> dict[str, str]:
    config = {
        "$schema": "https://opencode.ai/config.json",
        "model": "stub/stub",
        "small_model": "stub/stub",
        "autoupdate": False,
        "share": "disabled",
        "provider": {
            "stub": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Stub",
                "options": {"baseURL": f"{url}/v1", "apiKey": "stub"},
                "models": {"stub": {"name": "Stub", "limit": {"context": 100_000, "output": 10_000}}},
            }
        },
    }
    path = home / ".config/opencode/opencode.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    return {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1"}


def claude_code(home: Path, url: str) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "stub",
        "ANTHROPIC_MODEL": "claude-sonnet-4-5",
        "CLAUDE_CONFIG_DIR": str(home / ".claude"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "ENABLE_TOOL_SEARCH": "false",
    }


def codex(home: Path, url: str) -> dict[str, str]:
    config = f"""\
model = "gpt-5.1-codex"
model_provider = "stub"
[model_providers.stub]
name = "Stub"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "STUB_KEY"
"""
    (home / ".codex").mkdir(exist_ok=True)
    (home / ".codex" / "config.toml").write_text(config)
    return {"CODEX_HOME": str(home / ".codex"), "STUB_KEY": "stub"}


PEERS = {
    peer.preset: peer
    for peer in (
        Peer("opencode", opencode, goes_on_after_reject=False),
        Peer("claude-code", claude_code, goes_on_after_reject=True),
        Peer("codex", codex, goes_on_after_reject=False, stop_after_reject="cancelled"),
    )
}
