"""The hub's own MCP server, as an agent within a run knows it: its name, its tools, what a policy says of them."""

from typing import Final

from .policy import ActionKind, Level, Rule, Verdict

SERVER: Final = "agenthub"
TOOLS: Final = frozenset({
    "hub_status", "agent_register", "agent_heartbeat", "inbox_pull", "message_send", "message_ack",
    "task_draft_create", "round_plan_submit", "assignment_list", "assignment_claim", "assignment_progress",
    "assignment_complete", "handoff_get", "review_submit", "lock_acquire", "lock_release",
})  # fmt: skip
OWN_TOOLS: Final = frozenset({f"mcp__{SERVER}__{tool}" for tool in TOOLS} | {f"{SERVER}_{tool}" for tool in TOOLS})
"""What runtimes call them: as Claude Code and Codex do, and as OpenCode does."""
LEVEL: Final = Level(
    name="mcp",
    rules=tuple(Rule(verdict=Verdict.ALLOW, kind=ActionKind.OTHER, tool=tool) for tool in sorted(OWN_TOOLS)),
)
"""Of a run that is given the server: its tools are not asked about, unless a rule of another level is stricter."""
