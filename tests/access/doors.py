"""Every door of the hub, and to whom it opens. A door that is not here fails the suite.

To classify one, add its key, as the failing test prints it, to ``DOORS``:

- ``Door(Can.X)``: what ``permissions.py`` says of X. If roles have it, the door is a project's: members without it get
  403, everybody else 404. If only root has it, all others get 403.
- ``Door(SIGNED_IN)``: whoever is somebody; what it lists is what they may see. ``scope`` is what a token needs besides.
- ``Door(OWN)``: the owner's own (``world["owner"]``); root may as well, unless ``root=False``; others get 404.
- ``Door(ONESELF)``: whoever has a session, about their own account and nobody else's.
- ``Door(PUBLIC)``: everybody. ``Door(MACHINE)``: refuses all who bring no proof of their own in the body.

``body`` is sent by all; texts of it such as ``{agent}``, and the names in the path, are filled in from the world that
is asked about (``world.py``), one's own or a foreign one. ``ok`` is what those get who are let in, if it is not 2xx or
3xx. ``refused`` is what all others get who are signed in, if it is neither 403 nor 404: 400 where a form offers only
what one may choose.
Registry pages (``/admin/``) need no line: they are root's, and each is tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agenthub_site.accounts.actors import AGENT_ROLE
from agenthub_site.accounts.permissions import Can
from nodes.link.actors import METHODS, SERVICE


class To(StrEnum):
    PUBLIC = "public"
    SIGNED_IN = "signed in"
    OWN = "own"
    MACHINE = "machine"
    ONESELF = "oneself"


PUBLIC, SIGNED_IN, OWN, MACHINE, ONESELF = To


@dataclass(frozen=True)
class Door:
    to: Can | To
    body: Mapping[str, Any] | None = None
    query: str = ""
    ok: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    scope: Can | None = None
    root: bool = True
    never: frozenset[str] = field(default_factory=frozenset)
    """Roles that are refused (403) although the table gives them the capability."""


NEW_AGENT = {"project": "{slug}", "name": "new", "node": "oslo", "preset": "scripted", "worktree_repo": "/srv/quay"}
NEW_NODE = {"id": "gpu-01", "name": "GPU 01", "grpc_target": "https://gpu-01.example.org:50051"}
NODES = Can.MANAGE_NODES
AGENTS = frozenset({AGENT_ROLE})
AGENT_FORM = {
    "project": "{project}", "name": "new", "node": "{node}", "runtime": "acp", "preset": "scripted",
    "workspace_mode": "create_worktree", "worktree_repo": "/srv/quay", "approval_seconds": "600",
    "lost_after_seconds": "300", "isolation": "none", "network": "shared",
}  # fmt: skip
BUDGET_FORM = {"amount": "1000", "currency": "", "period": "day", "warn_percent": "80", "on_exceeded": "refuse"}
MESSAGE_FORM = {"project": "{slug}", "to": "demo", "text": "Hello", "key": "018f3a52-1c4e-7000-8000-000000000001"}
"""What a page's form sends."""

REST = {
    "GET /api/schema/": Door(PUBLIC),
    "GET /api/docs/": Door(PUBLIC),
    "GET /api/v1/agents/": Door(SIGNED_IN),
    "POST /api/v1/agents/": Door(Can.CREATE_AGENT, NEW_AGENT),
    "GET /api/v1/agents/{pk}/": Door(Can.VIEW),
    "PATCH /api/v1/agents/{pk}/": Door(Can.EDIT_AGENT, {"description": "Mends nets."}),
    "DELETE /api/v1/agents/{pk}/": Door(Can.EDIT_AGENT),
    "GET /api/v1/agents/{pk}/tokens/": Door(Can.MANAGE_TOKENS),
    "POST /api/v1/agents/{pk}/tokens/": Door(Can.MANAGE_TOKENS, {"name": "mcp"}),
    "POST /api/v1/agents/import/": Door(
        Can.CREATE_AGENT, {"project": "{slug}", "agents": [{"name": "new", "token": "{slug}-token-0123456789"}]}
    ),
    "POST /api/v1/agents/revoke-unlisted/": Door(Can.MANAGE_TOKENS, {"project": "{slug}", "agents": []}),
    "GET /api/v1/approvals/": Door(SIGNED_IN),
    "GET /api/v1/approvals/{pk}/": Door(Can.VIEW),
    # What one may not answer is told for each, and refuses nothing as a whole.
    "POST /api/v1/approvals/decide/": Door(SIGNED_IN, {"approvals": ["{approval}"], "answer": "reject"}),
    "GET /api/v1/audit/": Door(SIGNED_IN),
    "GET /api/v1/audit/{pk}/": Door(Can.VIEW_AUDIT, refused=(404,)),
    "GET /api/v1/audit/checkpoint": Door(Can.VIEW_AUDIT, query="?project={slug}", ok=(404,)),
    "GET /api/v1/audit/export": Door(Can.VIEW_AUDIT, query="?project={slug}"),
    "GET /api/v1/budgets/": Door(SIGNED_IN),
    "POST /api/v1/budgets/": Door(Can.EDIT_BUDGET, {"project": "{slug}", "unit": "tokens", "amount": 10**12}),
    "GET /api/v1/budgets/{pk}/": Door(Can.VIEW_USAGE, refused=(404,)),
    "PATCH /api/v1/budgets/{pk}/": Door(Can.EDIT_BUDGET, {"warn_percent": 50}, refused=(403, 404)),
    "DELETE /api/v1/budgets/{pk}/": Door(Can.EDIT_BUDGET, refused=(403, 404)),
    "GET /api/v1/usage/prices/": Door(SIGNED_IN),
    "PUT /api/v1/usage/prices/": Door(
        Can.SET_PRICES, {"pattern": "gpt-5*", "input_micros": 1_250_000, "output_micros": 10_000_000}
    ),
    "DELETE /api/v1/usage/prices/{pk}/": Door(Can.SET_PRICES),
    "GET /api/v1/usage/": Door(Can.VIEW_USAGE, query="?project={slug}&by=run"),
    "POST /api/v1/invitations/accept/": Door(MACHINE, {"token": "nonsense"}, ok=(404,)),
    "GET /api/v1/me/": Door(SIGNED_IN),
    "GET /api/v1/messages/{pk}/": Door(Can.MANAGE_MESSAGES, refused=(403, 404), scope=Can.READ_MESSAGES),
    "GET /api/v1/messages/dead/": Door(Can.MANAGE_MESSAGES, query="?project={slug}"),
    "POST /api/v1/messages/{pk}/requeue/": Door(Can.MANAGE_MESSAGES, refused=(403, 404), ok=(409,)),
    "GET /api/v1/nodes/": Door(SIGNED_IN),
    "GET /api/v1/nodes/{pk}/": Door(SIGNED_IN),
    "POST /api/v1/nodes/enroll": Door(MACHINE),
    "POST /api/v1/nodes/renew": Door(MACHINE),
    "GET /api/v1/nodes/authority/": Door(NODES),
    "POST /api/v1/nodes/authority/rotate/": Door(NODES),
    "POST /api/v1/nodes/authority/retire/": Door(NODES, ok=(409,)),
    "POST /api/v1/nodes/join-tokens/": Door(NODES, {"name": "gpu-02"}),
    "POST /api/v1/nodes/{pk}/revoke/": Door(NODES),
    "GET /api/v1/approvals/{pk}/always-allow/": Door(Can.EDIT_POLICY, ok=(409,)),
    "POST /api/v1/approvals/{pk}/always-allow/": Door(Can.EDIT_POLICY, ok=(409,)),
    "GET /api/v1/policy/rules/": Door(SIGNED_IN),
    "POST /api/v1/policy/rules/": Door(Can.EDIT_POLICY, {"project": "{slug}", "verdict": "deny", "kind": "publish"}),
    "GET /api/v1/policy/rules/{pk}/": Door(Can.VIEW, never=AGENTS, refused=(404,)),
    "PATCH /api/v1/policy/rules/{pk}/": Door(Can.EDIT_POLICY, {"note": "x"}, refused=(403, 404)),
    "DELETE /api/v1/policy/rules/{pk}/": Door(Can.EDIT_POLICY, refused=(403, 404)),
    "POST /api/v1/policy/rules/{pk}/move/": Door(Can.EDIT_POLICY, {"position": 0}, refused=(403, 404)),
    "GET /api/v1/policy/grants/": Door(SIGNED_IN),
    "POST /api/v1/policy/grants/": Door(Can.EDIT_POLICY, {"project": "{slug}", "command": "make"}),
    "GET /api/v1/policy/grants/{pk}/": Door(Can.VIEW, never=AGENTS, refused=(404,)),
    "DELETE /api/v1/policy/grants/{pk}/": Door(Can.EDIT_POLICY, refused=(403, 404)),
    "GET /api/v1/policy/reviews/": Door(SIGNED_IN),
    "PUT /api/v1/policy/reviews/": Door(Can.EDIT_POLICY, {"project": "{slug}", "roles": ["owner"]}),
    "POST /api/v1/policy/test/": Door(Can.VIEW, {"project": "{slug}", "command": "make"}, never=AGENTS),
    "GET /api/v1/projects/": Door(SIGNED_IN),
    "POST /api/v1/projects/": Door(Can.CREATE_PROJECT, {"slug": "jetty", "name": "Jetty"}),
    "GET /api/v1/projects/{pk}/": Door(Can.VIEW),
    "PATCH /api/v1/projects/{pk}/": Door(Can.EDIT_PROJECT, {"name": "East"}),
    "GET /api/v1/projects/{pk}/members/": Door(Can.VIEW),
    "POST /api/v1/projects/{pk}/members/": Door(Can.MANAGE_MEMBERS, {"user": "{outsider}", "role": "viewer"}),
    "DELETE /api/v1/projects/{pk}/members/{user}/": Door(Can.MANAGE_MEMBERS),
    "GET /api/v1/projects/{project}/invitations/": Door(Can.MANAGE_MEMBERS),
    "POST /api/v1/projects/{project}/invitations/": Door(Can.MANAGE_MEMBERS, {"role": "viewer"}),
    "DELETE /api/v1/projects/{project}/invitations/{invitation}/": Door(Can.MANAGE_MEMBERS),
    "POST /api/v1/projects/{project}/service-accounts/": Door(Can.MANAGE_MEMBERS, {"name": "new-one"}),
    "GET /api/v1/projects/{project}/limits/": Door(Can.VIEW),
    "PATCH /api/v1/projects/{project}/limits/": Door(Can.EDIT_LIMITS, {"max_rounds": 4}),
    "GET /api/v1/locks/": Door(SIGNED_IN),
    "GET /api/v1/tasks/": Door(SIGNED_IN),
    "POST /api/v1/tasks/": Door(
        Can.CREATE_TASK, {"project": "{slug}", "key": "T-9", "title": "Go", "dispatcher": "{agent}"}, refused=(403, 404)
    ),
    "GET /api/v1/tasks/{pk}/": Door(Can.VIEW),
    "POST /api/v1/tasks/{pk}/close/": Door(Can.DECIDE_ROUND),
    "POST /api/v1/tasks/{pk}/hand/": Door(Can.DECIDE_ROUND, {"dispatcher": "{agent}"}),
    "GET /api/v1/rounds/": Door(SIGNED_IN),
    "GET /api/v1/rounds/{pk}/": Door(Can.VIEW),
    "POST /api/v1/rounds/{pk}/approve/": Door(Can.DECIDE_ROUND, {"note": "Go."}),
    "POST /api/v1/rounds/{pk}/reject/": Door(Can.DECIDE_ROUND, {"note": "No."}),
    "GET /api/v1/routes/": Door(SIGNED_IN),
    "POST /api/v1/routes/": Door(Can.MANAGE_ROUTES, {"project": "{slug}", "pool": "gpu"}),
    "GET /api/v1/routes/test/": Door(Can.VIEW, query="?project={slug}&node=oslo"),
    "GET /api/v1/routes/{pk}/": Door(Can.VIEW),
    "PATCH /api/v1/routes/{pk}/": Door(Can.MANAGE_ROUTES, {"note": "x"}),
    "DELETE /api/v1/routes/{pk}/": Door(Can.MANAGE_ROUTES, refused=(403, 404)),
    "GET /api/v1/runs/": Door(SIGNED_IN),
    "POST /api/v1/runs/": Door(Can.START_RUN, {"agent": "{agent}", "prompt": "Go."}),
    "GET /api/v1/runs/{pk}/": Door(Can.VIEW),
    "GET /api/v1/runs/{pk}/artifacts/": Door(Can.VIEW),
    "GET /api/v1/runs/{pk}/artifacts/{digest}/": Door(Can.VIEW),
    "POST /api/v1/runs/{pk}/cancel/": Door(Can.CANCEL_RUN),
    "POST /api/v1/runs/{pk}/approvals/{approval}/decide/": Door(
        Can.ANSWER_APPROVAL, {"option_id": "yes"}, never=AGENTS
    ),
    "GET /api/v1/runs/{pk}/diff/": Door(Can.VIEW),
    "POST /api/v1/runs/{pk}/input/": Door(Can.SEND_INPUT, {"text": "More."}),
    "GET /api/v1/secrets/": Door(Can.MANAGE_SECRETS),
    "POST /api/v1/secrets/rotate-key/": Door(Can.MANAGE_SECRETS),
    "PUT /api/v1/secrets/{name}/": Door(Can.MANAGE_SECRETS, {"value": "s3cret"}),
    "DELETE /api/v1/secrets/{name}/": Door(Can.MANAGE_SECRETS),
    "GET /api/v1/teams/": Door(SIGNED_IN),
    "POST /api/v1/teams/": Door(Can.MANAGE_TEAMS, {"project": "{slug}", "slug": "new", "members": ["agent:{agent}"]}),
    "GET /api/v1/teams/{pk}/": Door(Can.VIEW),
    "PATCH /api/v1/teams/{pk}/": Door(Can.MANAGE_TEAMS, {"name": "Dockers"}),
    "DELETE /api/v1/teams/{pk}/": Door(Can.MANAGE_TEAMS),
    "POST /api/v1/teams/{pk}/add-members/": Door(Can.MANAGE_TEAMS, {"members": ["user:{username}"]}),
    "POST /api/v1/teams/{pk}/remove-members/": Door(Can.MANAGE_TEAMS, {"members": ["agent:{agent}"]}),
    "GET /api/v1/tokens/": Door(SIGNED_IN),
    "POST /api/v1/tokens/": Door(SIGNED_IN, {"name": "ci"}, scope=Can.MANAGE_TOKENS, never=AGENTS),
    "GET /api/v1/tokens/{pk}/": Door(OWN),
    "DELETE /api/v1/tokens/{pk}/": Door(OWN, scope=Can.MANAGE_TOKENS),
    "GET /api/v1/webhooks/": Door(SIGNED_IN),
    "POST /api/v1/webhooks/": Door(
        Can.MANAGE_WEBHOOKS, {"project": "{slug}", "name": "new", "url": "https://hooks.example.com/"}
    ),
    "GET /api/v1/webhooks/{pk}/": Door(Can.MANAGE_WEBHOOKS, refused=(404,)),
    "PATCH /api/v1/webhooks/{pk}/": Door(Can.MANAGE_WEBHOOKS, {"is_enabled": False}, refused=(404,)),
    "DELETE /api/v1/webhooks/{pk}/": Door(Can.MANAGE_WEBHOOKS, refused=(404,)),
    "POST /api/v1/webhooks/{pk}/rotate-secret/": Door(Can.MANAGE_WEBHOOKS, refused=(404,)),
    "GET /api/v1/triggers/": Door(SIGNED_IN),
    "POST /api/v1/triggers/": Door(
        Can.SEND_MESSAGE, {"project": "{slug}", "delay_seconds": 60, "to": ["agent:{agent}"], "payload": 1}
    ),
    "GET /api/v1/triggers/{pk}/": Door(Can.VIEW),
    "GET /api/v1/triggers/{pk}/history/": Door(Can.VIEW),
    "DELETE /api/v1/triggers/{pk}/": Door(Can.MANAGE_MESSAGES),
    "POST /api/v1/triggers/{pk}/pause/": Door(Can.MANAGE_MESSAGES),
    "POST /api/v1/triggers/{pk}/resume/": Door(Can.MANAGE_MESSAGES),
    "GET /api/v1/users/": Door(Can.MANAGE_USERS),
    "POST /api/v1/users/": Door(Can.MANAGE_USERS, {"username": "dora"}),
    "GET /api/v1/users/{pk}/": Door(Can.MANAGE_USERS),
    "PATCH /api/v1/users/{pk}/": Door(Can.MANAGE_USERS, {"email": "dora@example.org"}),
    "GET /api/admin/agent-nodes": Door(NODES),
    "POST /api/admin/agent-nodes": Door(NODES, NEW_NODE),
    "GET /api/admin/agent-nodes/bootstrap": Door(NODES),
    "GET /api/admin/agent-nodes/{id}": Door(NODES),
    "PUT /api/admin/agent-nodes/{id}": Door(NODES, {"name": "Oslo East"}),
    "PATCH /api/admin/agent-nodes/{id}": Door(NODES, {"name": "Oslo East"}),
    "DELETE /api/admin/agent-nodes/{id}": Door(NODES, ok=(409,)),
    "GET /api/admin/agent-nodes/{id}/health": Door(NODES),
    "POST /api/admin/agent-nodes/{id}/test-connection": Door(NODES),
}
PAGES = {
    "GET /healthz": Door(PUBLIC),
    "GET /readyz": Door(PUBLIC, ok=(200, 503)),
    "GET /metrics": Door(PUBLIC),
    "GET /": Door(PUBLIC),
    "POST /": Door(PUBLIC),
    "GET /login/": Door(PUBLIC),
    "POST /login/": Door(PUBLIC, {"username": "nobody", "password": "x"}),
    "POST /logout/": Door(PUBLIC),
    "GET /runs/": Door(SIGNED_IN),
    "GET /runs/new/": Door(SIGNED_IN),
    "POST /runs/new/": Door(Can.START_RUN, {"agent": "{agent}", "prompt": "Go."}, refused=(400,)),
    "GET /runs/{run_id}/": Door(Can.VIEW),
    "POST /runs/{run_id}/cancel/": Door(Can.CANCEL_RUN),
    "GET /approvals/": Door(SIGNED_IN),
    "GET /approvals/badge/": Door(SIGNED_IN),
    "GET /approvals/{approval_id}/": Door(Can.VIEW),
    "GET /approvals/{approval_id}/always/": Door(Can.EDIT_POLICY),
    "POST /approvals/{approval_id}/always/": Door(Can.EDIT_POLICY, {"level": "agent", "days": "30"}),
    "GET /policy/": Door(SIGNED_IN),
    "POST /policy/rules/": Door(Can.MANAGE_ROUTES, {"verdict": "deny", "kind": "publish"}),
    "POST /policy/review/": Door(Can.MANAGE_ROUTES, {"roles": "owner"}),
    "GET /policy/rules/{rule_id}/": Door(Can.EDIT_POLICY),
    "POST /policy/rules/{rule_id}/": Door(Can.EDIT_POLICY, {"verdict": "deny", "kind": "publish"}),
    "POST /policy/rules/{rule_id}/move/": Door(Can.EDIT_POLICY, {"position": "0"}),
    "POST /policy/rules/{rule_id}/remove/": Door(Can.EDIT_POLICY),
    "POST /policy/grants/{grant_id}/withdraw/": Door(Can.EDIT_POLICY),
    "POST /approvals/decide/": Door(SIGNED_IN, {"approvals": "{approval}", "answer": "reject"}),
    "POST /approvals/{approval_id}/decide/": Door(Can.ANSWER_APPROVAL, {"option_id": "yes"}),
    "GET /agents/": Door(SIGNED_IN),
    "GET /agents/new/": Door(SIGNED_IN),
    "POST /agents/new/": Door(Can.CREATE_AGENT, AGENT_FORM, refused=(400,)),
    "GET /agents/{agent_id}/": Door(Can.VIEW),
    "GET /agents/{agent_id}/edit/": Door(Can.EDIT_AGENT),
    "POST /agents/{agent_id}/edit/": Door(Can.EDIT_AGENT, AGENT_FORM),
    "POST /agents/{agent_id}/archive/": Door(Can.EDIT_AGENT),
    "POST /agents/{agent_id}/review/": Door(Can.EDIT_POLICY, {"roles": "owner"}),
    "POST /agents/{agent_id}/tokens/": Door(Can.MANAGE_TOKENS, {"name": "page", "days": "30", "scope": "read"}),
    "POST /agents/{agent_id}/tokens/{agent_token_id}/revoke/": Door(Can.MANAGE_TOKENS),
    "GET /projects/": Door(SIGNED_IN),
    "GET /projects/new/": Door(Can.CREATE_PROJECT),
    "POST /projects/new/": Door(Can.CREATE_PROJECT, {"slug": "jetty", "name": "Jetty"}),
    "GET /projects/{slug}/": Door(Can.VIEW),
    "GET /projects/{slug}/edit/": Door(Can.EDIT_PROJECT),
    "POST /projects/{slug}/edit/": Door(
        Can.EDIT_PROJECT, {"name": "Pier", "required_isolation": "none", "required_network": "shared"}
    ),
    "GET /projects/{slug}/audit/": Door(Can.VIEW_AUDIT),
    "GET /projects/{slug}/usage/": Door(Can.VIEW_USAGE),
    "POST /projects/{slug}/usage/budgets/": Door(Can.EDIT_BUDGET, BUDGET_FORM),
    "GET /projects/{slug}/usage/budgets/{budget_id}/": Door(Can.EDIT_BUDGET),
    "POST /projects/{slug}/usage/budgets/{budget_id}/": Door(Can.EDIT_BUDGET, BUDGET_FORM),
    "POST /projects/{slug}/usage/budgets/{budget_id}/remove/": Door(Can.EDIT_BUDGET),
    "GET /usage/": Door(SIGNED_IN),
    # What is set for the whole hub is root's, as prices are.
    "POST /usage/budgets/": Door(Can.SET_PRICES, BUDGET_FORM),
    "GET /usage/budgets/{budget_id}/": Door(Can.SET_PRICES),
    "POST /usage/budgets/{budget_id}/": Door(Can.SET_PRICES, BUDGET_FORM),
    "POST /usage/budgets/{budget_id}/remove/": Door(Can.SET_PRICES),
    "GET /projects/{slug}/policy/": Door(Can.VIEW),
    "POST /projects/{slug}/policy/rules/": Door(Can.EDIT_POLICY, {"verdict": "deny", "kind": "publish"}),
    "POST /projects/{slug}/policy/review/": Door(Can.EDIT_POLICY, {"roles": "owner"}),
    "POST /projects/{slug}/policy/test/": Door(Can.VIEW, {"command": "make"}),
    "GET /projects/{slug}/people/": Door(Can.MANAGE_TEAMS),
    "POST /projects/{slug}/people/teams/": Door(Can.MANAGE_TEAMS, {"slug": "new", "members": "agent:{agent}"}),
    "POST /projects/{slug}/people/teams/{team_id}/members/": Door(Can.MANAGE_TEAMS, {"members": "user:{username}"}),
    "POST /projects/{slug}/people/teams/{team_id}/remove/": Door(Can.MANAGE_TEAMS, {"member": "agent:{agent}"}),
    "POST /projects/{slug}/people/teams/{team_id}/delete/": Door(Can.MANAGE_TEAMS),
    "POST /projects/{slug}/people/members/": Door(Can.MANAGE_MEMBERS, {"username": "{outsider}", "role": "viewer"}),
    "POST /projects/{slug}/people/members/{membership_id}/remove/": Door(Can.MANAGE_MEMBERS),
    "POST /projects/{slug}/people/invitations/": Door(Can.MANAGE_MEMBERS, {"role": "viewer", "days": "7"}),
    "POST /projects/{slug}/people/invitations/{invitation_id}/withdraw/": Door(Can.MANAGE_MEMBERS),
    "POST /projects/{slug}/people/programs/": Door(Can.MANAGE_MEMBERS, {"name": "new-program", "role": "viewer"}),
    "POST /projects/{slug}/people/programs/{user_id}/tokens/": Door(
        Can.MANAGE_MEMBERS, {"name": "ci", "days": "30", "scope": "run"}
    ),
    "POST /projects/{slug}/people/tokens/{program_token_id}/revoke/": Door(Can.MANAGE_MEMBERS),
    "GET /projects/{slug}/webhooks/": Door(Can.MANAGE_WEBHOOKS),
    "POST /projects/{slug}/webhooks/": Door(
        Can.MANAGE_WEBHOOKS, {"name": "new", "url": "https://hooks.example.com/new"}
    ),
    "GET /projects/{slug}/webhooks/{webhook_id}/": Door(Can.MANAGE_WEBHOOKS),
    "POST /projects/{slug}/webhooks/{webhook_id}/": Door(Can.MANAGE_WEBHOOKS, {"url": "https://hooks.example.com/new"}),
    "POST /projects/{slug}/webhooks/{webhook_id}/switch/": Door(Can.MANAGE_WEBHOOKS, {"is_enabled": "on"}),
    "POST /projects/{slug}/webhooks/{webhook_id}/rotate/": Door(Can.MANAGE_WEBHOOKS),
    "POST /projects/{slug}/webhooks/{webhook_id}/test/": Door(Can.MANAGE_WEBHOOKS),
    "POST /projects/{slug}/webhooks/{webhook_id}/remove/": Door(Can.MANAGE_WEBHOOKS),
    "POST /projects/{slug}/webhooks/{webhook_id}/deliveries/{message_id}/requeue/": Door(Can.MANAGE_WEBHOOKS),
    "GET /invitations/": Door(PUBLIC, ok=(404,)),
    "POST /invitations/": Door(PUBLIC, ok=(404,)),
    "GET /invitations/{secret}/": Door(PUBLIC, ok=(404,)),
    "GET /routes/": Door(SIGNED_IN),
    "GET /nodes/": Door(SIGNED_IN),
    "GET /nodes/join/": Door(NODES),
    "POST /nodes/join/": Door(NODES, {"name": "gpu-02"}),
    "GET /nodes/{node_id}/": Door(SIGNED_IN),
    "POST /nodes/{node_id}/test/": Door(NODES),
    "GET /nodes/{node_id}/revoke/": Door(NODES),
    "POST /nodes/{node_id}/revoke/": Door(NODES, {"name": "oslo"}),
    "POST /nodes/{node_id}/{verb}/": Door(NODES),
    "GET /nodes/{slug}/": Door(SIGNED_IN),
    "POST /rounds/{round_id}/approve/": Door(Can.DECIDE_ROUND),
    "POST /rounds/{round_id}/reject/": Door(Can.DECIDE_ROUND),
    "GET /messages/": Door(SIGNED_IN),
    "GET /messages/badge/": Door(SIGNED_IN),
    "GET /messages/new/": Door(SIGNED_IN),
    "POST /messages/new/": Door(Can.SEND_MESSAGE, MESSAGE_FORM, refused=(400,)),
    "GET /messages/{message_id}/": Door(Can.MANAGE_MESSAGES, refused=(404,)),
    "POST /messages/{message_id}/answer/": Door(OWN, {"text": "Yes.", "key": MESSAGE_FORM["key"]}, root=False),
    "POST /messages/{message_id}/done/": Door(OWN, root=False),
    "POST /messages/{message_id}/requeue/": Door(Can.MANAGE_MESSAGES, refused=(403, 404)),
    "GET /tasks/": Door(SIGNED_IN),
    "GET /tasks/{task_id}/": Door(Can.VIEW),
    "POST /tasks/{task_id}/close/": Door(Can.DECIDE_ROUND),
    "POST /tasks/{task_id}/hand/": Door(Can.DECIDE_ROUND, {"dispatcher": "{agent}"}),
    "GET /tokens/": Door(SIGNED_IN),
    "POST /tokens/": Door(SIGNED_IN, {"name": "ci", "days": "30", "scope": "run"}),
    "POST /tokens/{token_id}/revoke/": Door(OWN, root=False),
}
LIVE = {
    "GET /api/v1/runs/{id}/events": Door(Can.VIEW),
    "GET /api/v1/runs/{id}/events/stream": Door(Can.VIEW),
    "GET /api/v1/approvals/stream": Door(SIGNED_IN),
    "POST /api/v1/messages": Door(Can.SEND_MESSAGE, {"project": "{slug}", "to": ["agent:{agent}"], "payload": {}}),
    "GET /api/v1/inbox": Door(SIGNED_IN, scope=Can.READ_MESSAGES),
    "POST /api/v1/inbox/receive": Door(SIGNED_IN, {}, scope=Can.READ_MESSAGES),
    "POST /api/v1/inbox/ack": Door(SIGNED_IN, {"message_ids": [1]}, scope=Can.READ_MESSAGES),
    "GET /api/v1/inbox/stream": Door(SIGNED_IN, scope=Can.READ_MESSAGES),
    # Whoever is somebody may speak the protocol; what they may do is asked by each tool: tests/mcp/.
    "POST /mcp": Door(SIGNED_IN, ok=(400,)),
    "WS /ws/approvals/": Door(SIGNED_IN),
    "WS /ws/inbox/": Door(SIGNED_IN, scope=Can.READ_MESSAGES),
    "WS /ws/runs/{id}/": Door(Can.VIEW),
    "WS /ws/projects/{id}/": Door(Can.VIEW),
}
ACCOUNT = dict.fromkeys(
    (
        "DELETE /account/passkeys/{pk}/remove/",
        "GET /account/",
        "GET /account/app/",
        "GET /account/app/remove/",
        "GET /account/codes/",
        "GET /account/codes/download/",
        "GET /account/codes/new/",
        "GET /account/confirm/",
        "GET /account/confirm/code/",
        "GET /account/confirm/passkey/",
        "GET /account/passkeys/",
        "GET /account/passkeys/add/",
        "GET /account/passkeys/{pk}/",
        "GET /account/passkeys/{pk}/remove/",
        "GET /account/password/",
        "GET /account/sessions/",
        "GET /oidc/link/",
        "GET /oidc/link/confirm/",
        "POST /account/app/",
        "POST /account/app/remove/",
        "POST /account/codes/new/",
        "POST /account/confirm/",
        "POST /account/confirm/code/",
        "POST /account/confirm/passkey/",
        "POST /account/passkeys/add/",
        "POST /account/passkeys/{pk}/",
        "POST /account/passkeys/{pk}/remove/",
        "POST /account/password/",
        "POST /account/sessions/end/",
        "POST /account/sessions/{session_id}/end/",
        "POST /oidc/link/confirm/",
        "POST /oidc/unlink/",
    ),
    Door(ONESELF),
)
SIGNING_IN = {
    "GET /login/passkey/": Door(PUBLIC),
    "GET /login/second/": Door(PUBLIC),
    "GET /login/set-up/": Door(PUBLIC),
    "POST /login/passkey/": Door(PUBLIC),
    "POST /login/second/": Door(PUBLIC),
    "POST /login/set-up/": Door(PUBLIC),
    # Here no provider is known.
    "GET /oidc/authenticate/": Door(PUBLIC, ok=(404,)),
    "GET /oidc/callback/": Door(PUBLIC, ok=(403,)),
    "POST /oidc/backchannel-logout": Door(PUBLIC, ok=(404,)),
}
PAGES |= ACCOUNT | SIGNING_IN
DOORS: dict[str, Door] = {**REST, **PAGES, **LIVE}

GRPC = {
    "/agenthub.node.v1.HubLink/Connect": "a node, by its certificate or the shared secret: tests/nodes/",
    **dict.fromkeys(
        (f"/{SERVICE}/{method}" for method in METHODS), "who has the shared secret: tests/journeys/test_actor.py"
    ),
    "/agenthub.node.v1.NodeLink/Connect": "the hub, by its certificate or the shared secret: tests/link/, tests/node/",
}
"""gRPC has no roles: its callers are machines. Each method, who may call it, and where that is tested; that nobody
else may, whatever their role, test_grpc.py tries."""

ADMIN_FOR_ALL = {
    "/admin/login/", "/admin/logout/", "/admin/jsi18n/", "/admin/{url}",
}  # fmt: skip
"""What of the registry shows itself to whoever signs in."""
