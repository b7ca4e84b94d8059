"""Examples for the API's main endpoints, by operation. A test sends the requests and compares the answers' fields."""

from typing import Any, Final

_RUN_ID: Final = "01a1fcc2-cfe0-778a-9bc5-c0a5daeae767"
_AGENT_ID: Final = "01a1fcc1-f5a2-7c1e-9a43-5a0e6f1f7f10"
_APPROVAL_ID: Final = "01a1fcc2-d9b1-7a55-8d0c-2f4f5f0a9c33"
_PROJECT_ID: Final = "01a1fcc1-f590-7b0a-b1de-3c9f3a9a2d01"
_NODE_ID: Final = "01a1fcc1-f2c4-7d31-a6ef-91d0c3b6ee42"
_HASH: Final = "5b1f" * 16

REQUESTS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "projects_create": {"a project": {"slug": "harbour", "name": "Harbour", "description": "The quay's software."}},
    "projects_members_create": {"a developer": {"user": "bob", "role": "developer"}},
    "agents_create": {
        "a known agent in worktrees of its own": {
            "project": "harbour",
            "name": "mender",
            "node": "local",
            "runtime": "acp",
            "preset": "claude-code",
            "workspace_mode": "create_worktree",
            "worktree_repo": "/srv/quay",
            "worktree_ref": "main",
        },
        "any command": {
            "project": "harbour",
            "name": "linter",
            "node": "local",
            "runtime": "command",
            "command": ["make", "lint"],
            "workspace_mode": "use_existing",
            "workdir": "/srv/quay",
        },
    },
    "runs_create": {
        "one turn": {"agent": "demo", "prompt": "Write a note, please"},
        "a session to go on with": {"agent": "harbour/demo", "prompt": "Fix the failing test", "keep_open": True},
    },
    "runs_input_create": {
        "the next turn": {"text": "And a test for it", "mode": "queue"},
        "instead of the present turn": {"text": "Stop that; only read", "mode": "interrupt", "input_id": "mine-7"},
    },
    "runs_approvals_decide_create": {
        "one of the runtime's options": {"option_id": "yes"},
        "none of them": {"outcome": "cancelled"},
    },
    "approvals_decide_create": {
        "allow each, this once": {"approvals": [_APPROVAL_ID], "answer": "allow_once"},
        "say no to each": {"approvals": [_APPROVAL_ID], "answer": "reject"},
    },
    "secrets_update": {"the identity provider's": {"value": "what it gave you"}},
    "tokens_create": {"for ninety days": {"name": "laptop", "expires_at": "2099-02-19T00:00:00Z"}},
}
"""Request bodies: operation → what it shows → body."""

RUN: Final[dict[str, Any]] = {
    "id": _RUN_ID,
    "project": _PROJECT_ID,
    "project_slug": "harbour",
    "agent": _AGENT_ID,
    "agent_name": "demo",
    "node": _NODE_ID,
    "node_slug": "local",
    "runs_on": "node:local",
    "user": "alice",
    "state": "waiting",
    "reason": "approval",
    "message": "",
    "waiting_for": "an approval",
    "exit_code": None,
    "signal": None,
    "prompt_excerpt": "Write a note, please",
    "keep_open": False,
    "resumes": None,
    "isolation": "none",
    "network": "shared",
    "workspace": "/home/agent/.agenthub/worktrees/demo/hello-demo-daeae767",
    "last_seq": 31,
    "diff": None,
    "created_at": "2026-11-21T06:19:48.832000Z",
    "placed_at": "2026-11-21T06:19:48.840000Z",
    "started_at": "2026-11-21T06:19:49.010000Z",
    "ended_at": None,
}
APPROVAL: Final[dict[str, Any]] = {
    "id": _APPROVAL_ID,
    "project": _PROJECT_ID,
    "project_slug": "harbour",
    "run": _RUN_ID,
    "agent": _AGENT_ID,
    "agent_name": "demo",
    "node_slug": "local",
    "asked_for": "alice",
    "offered": {"roles": ["reviewer"], "agent": None, "agent_name": None, "people_at": None},
    "may_answer": True,
    "seconds_left": 591.3,
    "state": "pending",
    "kind": "shell",
    "title": "make test",
    "command": "make test",
    "paths": [],
    "tool_call_id": "call-2",
    "options": [
        {"option_id": "yes", "name": "Allow once", "kind": "allow_once"},
        {"option_id": "no", "name": "Reject", "kind": "reject_once"},
    ],
    "outcome": "",
    "option_id": "",
    "decided_by": None,
    "requested_at": "2026-11-21T06:19:51.204000Z",
    "expires_at": "2026-11-21T06:29:51.204000Z",
    "decided_at": None,
    "resolved_at": None,
    "action_hash": _HASH,
}
DECIDED: Final[dict[str, Any]] = {
    **APPROVAL,
    "state": "decided",
    "outcome": "selected",
    "option_id": "yes",
    "decided_by": {"kind": "user", "id": "7", "label": "alice"},
    "may_answer": False,
    "seconds_left": 0.0,
    "decided_at": "2026-11-21T06:20:04.512000Z",
    "content": [],
}
EVENT: Final[dict[str, Any]] = {
    "id": f"{_RUN_ID}:7",
    "type": "run.message.delta",
    "version": 1,
    "project": _PROJECT_ID,
    "user": "7",
    "agent": _AGENT_ID,
    "run": _RUN_ID,
    "seq": 7,
    "occurred_at": "2026-11-21T06:19:49.310000Z",
    "recorded_at": "2026-11-21T06:19:49.322000Z",
    "payload": {"message_id": "m1", "text": "I will look around."},
}

ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "runs_create": {**RUN, "state": "queued", "reason": "queued", "waiting_for": "its turn", "prompt": "Write a note"},
    "runs_retrieve": {**RUN, "prompt": "Write a note, please"},
    "runs_list": {"next": None, "previous": None, "results": [RUN]},
    "runs_input_create": {"input_id": "mine-7"},
    "approvals_list": {"next": None, "previous": None, "results": [APPROVAL]},
    "runs_approvals_decide_create": DECIDED,
    "approvals_decide_create": {
        "results": [
            {"approval": _APPROVAL_ID, "status": 200, "state": "decided", "option_id": "yes", "error": None},
        ],
        "decided": 1,
        "refused": 0,
    },
    "run_events": {"results": [EVENT], "next": 7, "last_seq": 31, "state": "waiting"},
}
"""Answers, one each."""


def show(operation: dict[str, Any]) -> None:
    """Put an operation's examples beside its schemas."""
    for name, body in REQUESTS.get(operation["operationId"], {}).items():
        for media in operation["requestBody"]["content"].values():
            media.setdefault("examples", {})[name.replace(" ", "_")] = {"summary": name, "value": body}
    answer = ANSWERS.get(operation["operationId"])
    if answer is None:
        return
    first = next(iter(operation["responses"].values()))
    for media in first["content"].values():
        media["example"] = answer
