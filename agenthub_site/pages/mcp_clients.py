"""How each known client is told of this hub: what an agent's page shows to be copied."""

import json
from dataclasses import dataclass
from typing import Final

TOKEN: Final = "TOKEN-OF-THE-AGENT"  # noqa: S105 (what stands in its place)


@dataclass(frozen=True, slots=True)
class McpClient:
    """A client, where its settings are, and what to put there."""

    name: str
    where: str
    snippet: str


def mcp_clients(url: str, token: str = "") -> list[McpClient]:
    """Known clients, for the hub at ``url``, with the token that is told just now; else its place is marked."""
    header = {"Authorization": f"Bearer {token or TOKEN}"}
    server = {"type": "http", "url": url, "headers": header}
    opencode = {"mcp": {"agent-hub": {"type": "remote", "url": url, "headers": header, "oauth": False}}}
    gemini = {"mcpServers": {"agent-hub": {"httpUrl": url, "headers": header}}}
    codex = f'[mcp_servers.agent-hub]\nurl = "{url}"\nbearer_token_env_var = "AGENT_HUB_TOKEN"'
    return [
        McpClient("Claude Code", ".mcp.json, in the project", _pretty({"mcpServers": {"agent-hub": server}})),
        McpClient("Codex", "~/.codex/config.toml; the token in AGENT_HUB_TOKEN", codex),
        McpClient("Gemini CLI", "~/.gemini/settings.json", _pretty(gemini)),
        McpClient("OpenCode", "opencode.json, in the project", _pretty(opencode)),
    ]


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2)
