"""The agents we know, as data. Each is switched to asking, as far as it can be, and its updates off.

What an agent does without asking is its own affair: a policy governs what it asks, isolation the rest.
Versions and switches were tried as ``docs/runtimes.md`` says; a newer agent is started just the same.
"""

import json
import sys
from pathlib import Path

from nodes.contract.runtime import Preset

_OPENCODE_PERMISSION = {
    "*": "ask",
    **dict.fromkeys(("read", "glob", "grep", "list", "lsp", "todoread", "todowrite", "question", "skill"), "allow"),
}
"""OpenCode's default is to allow; the last rule that matches counts. Merged over the user's own configuration."""

_SCRIPTED = (sys.executable, "-P", "-m", "nodes.runtimes.scripted")
"""Found by ``PYTHONPATH``, never in the workspace, which may hold anything by our names."""

_ALL = (
    Preset(
        name="scripted",
        title="Scripted (demo)",
        command=_SCRIPTED,
        version_command=(*_SCRIPTED, "--version"),
        environment={"PYTHONPATH": str(Path(__file__).parents[2])},
        readable=(str(Path(__file__).parents[2]), sys.prefix, sys.base_prefix),
        install_hint="It comes with AgentHub; if it does not start, install AgentHub anew.",
    ),
    Preset(
        name="claude-code",
        title="Claude Code",
        command=("claude-agent-acp",),
        version_command=("claude-agent-acp", "--cli", "--version"),
        environment={
            "DISABLE_AUTOUPDATER": "1",
            "IS_SANDBOX": "",  # else, as root, the adapter offers to skip permissions and the program refuses to start
        },
        mode="default",
        secret_names=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        login_paths=(".claude/.credentials.json",),
        config_paths=(".claude", ".claude.json"),
        install_hint="npm install -g @agentclientprotocol/claude-agent-acp; "
        "then log in with 'claude-agent-acp --cli /login' or set ANTHROPIC_API_KEY.",
    ),
    Preset(
        name="codex",
        title="Codex",
        command=("codex-acp",),
        version_command=("codex", "--version"),
        environment={"INITIAL_AGENT_MODE": "read-only", "NO_BROWSER": "1"},
        mode="read-only",
        secret_names=("OPENAI_API_KEY", "CODEX_API_KEY"),
        login_paths=(".codex/auth.json",),
        config_paths=(".codex",),
        install_hint="npm install -g @agentclientprotocol/codex-acp @openai/codex; "
        "then log in with 'codex login' or set OPENAI_API_KEY.",
    ),
    Preset(
        name="opencode",
        title="OpenCode",
        command=("opencode", "acp"),
        version_command=("opencode", "--version"),
        environment={
            "OPENCODE_PERMISSION": json.dumps(_OPENCODE_PERMISSION),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
        },
        secret_names=("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY"),
        login_paths=(".local/share/opencode/auth.json", ".config/opencode/opencode.json"),
        config_paths=(".config/opencode", ".local/share/opencode", ".local/state/opencode", ".cache/opencode"),
        install_hint="npm install -g opencode-ai; then log in with 'opencode auth login'.",
    ),
    Preset(
        name="gemini",
        title="Gemini CLI",
        command=("gemini", "--acp"),
        version_command=("gemini", "--version"),
        mode="default",
        secret_names=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        login_paths=(".gemini/oauth_creds.json",),
        config_paths=(".gemini",),
        install_hint="npm install -g @google/gemini-cli; then log in by starting 'gemini' once or set GEMINI_API_KEY.",
    ),
    Preset(
        name="kimi",
        title="Kimi Code",
        command=("kimi", "acp"),
        version_command=("kimi", "--version"),
        environment={"KIMI_CODE_NO_AUTO_UPDATE": "1"},
        mode="default",
        secret_names=("KIMI_API_KEY",),
        login_paths=(".kimi-code/credentials", ".kimi-code/config.toml"),
        config_paths=(".kimi-code",),
        install_hint="npm install -g @moonshot-ai/kimi-code (Node 22); then log in with 'kimi login'. A key alone does "
        "not do: name its provider in ~/.kimi-code/config.toml.",
    ),
    Preset(
        name="qwen",
        title="Qwen Code",
        command=("qwen", "--acp"),
        version_command=("qwen", "--version"),
        mode="default",  # it begins in "auto", where a model of its own allows what it takes for safe
        secret_names=("OPENAI_API_KEY", "DASHSCOPE_API_KEY"),
        login_paths=(".qwen/oauth_creds.json", ".qwen/settings.json"),
        config_paths=(".qwen",),
        install_hint="npm install -g @qwen-code/qwen-code (Node 22); then log in by starting 'qwen' once, or set "
        "OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL.",
    ),
    Preset(
        name="mistral-vibe",
        title="Mistral Vibe",
        command=("vibe-acp",),
        version_command=("vibe", "--version"),
        environment={"VIBE_ENABLE_UPDATE_CHECKS": "false"},
        mode="ask",  # it begins in "accept-edits"
        secret_names=("MISTRAL_API_KEY",),
        login_paths=(".vibe/.env",),
        config_paths=(".vibe",),
        install_hint="pip install mistral-vibe (Python 3.12); then set MISTRAL_API_KEY or start 'vibe --setup' once.",
    ),
    Preset(
        name="hermes",
        title="Hermes Agent",
        command=("hermes-acp",),
        version_command=("hermes", "--version"),
        mode="default",
        secret_names=("OPENROUTER_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
        login_paths=(".hermes/auth.json", ".hermes/.env"),
        config_paths=(".hermes",),
        install_hint="pip install 'hermes-agent[acp]'; then choose a provider with 'hermes model', or set "
        "OPENROUTER_API_KEY.",
    ),
    Preset(
        name="fast-agent",
        title="fast-agent",
        command=("fast-agent-acp",),
        version_command=("fast-agent", "--version"),
        secret_names=("ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
        login_paths=(".fast-agent/fastagent.secrets.yaml",),
        install_hint="pip install fast-agent-acp (Python 3.13.5); then set ANTHROPIC_API_KEY or OPENAI_API_KEY.",
    ),
    Preset(
        name="mini-swe-agent",
        title="mini-SWE-agent",
        kind="command",
        command=("mini", "--yolo", "--exit-immediately", "--task", "{prompt}"),
        version_command=("mini", "--help"),
        environment={"MSWEA_CONFIGURED": "true"},
        secret_names=("ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
        login_paths=(".config/mini-swe-agent/.env",),
        install_hint="pip install mini-swe-agent; then name a model with 'mini-extra config setup', or set "
        "MSWEA_MODEL_NAME and its provider's key.",
    ),
    Preset(
        name="aider",
        title="Aider",
        kind="command",
        command=(
            "aider", "--yes-always", "--no-suggest-shell-commands", "--no-pretty", "--no-stream", "--no-check-update",
            "--analytics-disable", "--no-show-release-notes", "--no-gitignore", "--message", "{prompt}",
        ),
        version_command=("aider", "--version"),
        secret_names=("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY"),
        login_paths=(".aider.conf.yml",),
        install_hint="pip install aider-chat (Python 3.12); then set ANTHROPIC_API_KEY or OPENAI_API_KEY, or name a "
        "model in ~/.aider.conf.yml.",
    ),
)  # fmt: skip

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
"""Every preset, by name."""
