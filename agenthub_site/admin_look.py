"""How the admin looks: the pages' palette, one list of what is in it, and the way back to the pages."""

from typing import Any, Final

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse, reverse_lazy


def _listed(title: str, icon: str, model: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{model}_changelist")}


def _is_at_projects(request: HttpRequest) -> bool:
    """The table of permissions lies below the projects' address, and is an entry of its own."""
    here = request.path
    return here.startswith(reverse("admin:accounts_project_changelist")) and here != reverse("admin:permissions")


UNFOLD: Final[dict[str, Any]] = {
    "SITE_TITLE": "AgentHub",
    "SITE_HEADER": "AgentHub",
    "SITE_SUBHEADER": "Admin",
    "SITE_SYMBOL": "hub",
    "SITE_URL": "/",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("agenthub/favicon.svg")}
    ],
    "SHOW_HISTORY": False,  # each page of a thing leads to what the trail has of it
    "STYLES": [lambda _request: static("agenthub/admin.css")],
    "COLORS": {
        "primary": {
            "50": "#f2f4ff",
            "100": "#e4e9ff",
            "200": "#ccd5ff",
            "300": "#a9b8ff",
            "400": "#8ea2ff",
            "500": "#5f79ec",
            "600": "#3f5bd9",
            "700": "#3349b5",
            "800": "#2b3d92",
            "900": "#263575",
            "950": "#182047",
        },
    },
    "SIDEBAR": {
        "navigation": [
            {"items": [{"title": "Back to the pages", "icon": "arrow_back", "link": reverse_lazy("runs")}]},
            {
                "title": "People",
                "items": [
                    _listed("Users", "person", "accounts_user"),
                    {**_listed("Projects", "folder", "accounts_project"), "active": _is_at_projects},
                    _listed("Invitations", "mail", "accounts_invitation"),
                    _listed("Service accounts", "precision_manufacturing", "accounts_serviceaccount"),
                    _listed("Teams", "groups", "teams_team"),
                    _listed("Tokens", "key", "accounts_token"),
                    {"title": "Permissions", "icon": "rule", "link": reverse_lazy("admin:permissions")},
                    _listed("Secrets", "lock", "accounts_hubsecret"),
                ],
            },
            {
                "title": "Work",
                "items": [
                    _listed("Nodes", "dns", "nodes_node"),
                    _listed("Routes", "alt_route", "nodes_route"),
                    _listed("Agents", "smart_toy", "agents_agent"),
                    _listed("Runs", "play_circle", "agents_run"),
                    _listed("Approvals", "approval", "agents_approval"),
                    _listed("Policy rules", "rule", "agents_policyrule"),
                    _listed("Policy grants", "done_all", "agents_policygrant"),
                    _listed("Policy reviews", "how_to_reg", "agents_policyreview"),
                    _listed("Prices", "sell", "usage_price"),
                    _listed("Tasks", "task_alt", "coordination_task"),
                    _listed("Rounds", "cycle", "coordination_round"),
                    _listed("Locks", "lock", "coordination_lock"),
                    _listed("Webhooks", "webhook", "webhooks_webhook"),
                ],
            },
            {"title": "Trail", "items": [_listed("Audit events", "history", "audit_auditevent")]},
        ],
    },
}
