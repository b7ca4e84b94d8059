"""The registry's pages of agents, runs and approvals. A run's events are not here: they are read as a stream."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse
from unfold.decorators import display

from agenthub_site.accounts.hub_admin import HubAdmin, ReadOnlyAdmin

from .models import Agent, Approval, Run
from .services.agents import archive_agent, create_agent, edit_agent
from .states import State

_COLOURS = {
    State.QUEUED: "info", State.STARTING: "info", State.RUNNING: "info", State.WAITING: "warning",
    State.STOPPING: "warning", State.LOST: "danger", State.SUCCEEDED: "success", State.FAILED: "danger",
    State.CANCELLED: "warning", "timed out": "danger",
}  # fmt: skip
_APPROVAL_COLOURS = {
    Approval.State.PENDING: "warning", Approval.State.DECIDED: "info", Approval.State.APPLIED: "success",
    Approval.State.EXPIRED: "danger", Approval.State.SUPERSEDED: "warning", "hash mismatch": "danger",
}  # fmt: skip


@admin.register(Agent)
class AgentAdmin(HubAdmin):
    labels = {
        "workdir": "Directory", "worktree_repo": "Repository", "worktree_ref": "Start from", "mcp": "The hub's tools",
        "approval_seconds": "An approval waits (seconds)",
        "turn_seconds": "A turn takes (seconds)", "lost_after_seconds": "Runs are lost after (seconds)",
        "stop_after_seconds": "The node stops them after (seconds)",
    }  # fmt: skip
    help_texts = {
        "node": "One machine; or leave it empty, and say which pool or labels a node must have.",
        "node_labels": 'All of them, as in {"gpu": "h100"}',
        "preset": "A known agent, with its command and its safe settings: scripted, claude-code, codex, gemini, …",
        "command": 'As a list: ["my-agent", "--acp"]. Empty: that of the preset.',
        "environment": 'As in {"TZ": "UTC", "TOKEN": "secret:NAME"}. A secret is kept on the node, and named here.',
        "model": "Empty: the runtime's own default.",
        "workdir": "On the node, under one of its safe paths.",
        "worktree_repo": "A git repository on the node, under one of its safe paths.",
        "worktree_ref": "A branch, tag or commit. Empty: HEAD.",
        "approval_seconds": "Then the answer is no.",
        "turn_seconds": "Empty: no limit.",
        "mcp": "By MCP: mail, tasks, claims, handoffs, reviews, locks.",
        "wake_on_mail": "Mail to it starts a run while it has none; a live one is told in any case.",
        "lost_after_seconds": "Counted from when its node is silent. It is found again when the node comes back.",
        "stop_after_seconds": "Without the hub. Empty: it goes on, and its records follow.",
        "resume": "Once, from its prompt: after a restart of the machine, or when the run's supervisor was killed.",
    }
    list_display = ("name", "project", "shown_place", "runtime", "preset", "workspace_mode", "archived_at")
    list_filter = ("runtime", "workspace_mode", ("archived_at", admin.EmptyFieldListFilter))
    list_select_related = ("project", "node")
    search_fields = ("name", "project__slug", "node__slug")
    autocomplete_fields = ("project", "node")
    actions = ("archive",)
    asks_first = {"archive": "They start no more runs, and their tokens are refused from now on."}
    fieldsets = (
        (None, {"fields": ("project", "name", "description")}),
        ("Where it runs: a node, or what a node must have", {"fields": ("node", "pool", "node_labels")}),
        ("Runtime", {"fields": ("runtime", "preset", "command", "model", "environment")}),
        ("Workspace", {"fields": ("workspace_mode", "workdir", "worktree_repo", "worktree_ref")}),
        ("Isolation", {"fields": ("isolation", "network")}),
        ("Bounds", {"fields": ("approval_seconds", "turn_seconds")}),
        ("With others", {"fields": ("mcp", "wake_on_mail")}),
        ("When a node is cut off", {"fields": ("lost_after_seconds", "stop_after_seconds", "resume")}),
        ("Times", {"fields": ("created_at", "updated_at", "archived_at")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Agent | None = None) -> tuple[str, ...]:
        times = ("created_at", "updated_at", "archived_at")
        return ("project", *times) if obj else times

    def save_model(self, request: HttpRequest, obj: Agent, form: ModelForm[Agent], change: bool) -> None:
        by, given = self.actor(request), {**form.cleaned_data}
        given["node_labels"] = given["node_labels"] or {}  # an empty field is None here
        if change:
            stored = Agent.objects.get(pk=obj.pk)
            edit_agent(stored, by=by, **{name: given[name] for name in form.changed_data})
            return
        fields = {name: value for name, value in given.items() if name != "project"}
        made = create_agent(given["project"], by=by, **fields)
        obj.pk = made.pk
        obj.refresh_from_db()

    @display(description="runs on", ordering="node__slug")  # type: ignore[untyped-decorator]
    def shown_place(self, agent: Agent) -> str:
        return agent.runs_on

    @admin.action(description="Put away", permissions=["change"])
    def archive(self, request: HttpRequest, agents: QuerySet[Agent]) -> None:
        for agent in agents:
            archive_agent(agent, by=self.actor(request))
        self.message_user(request, "The agents start no more runs.")


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = (
        "id", "project", "agent", "shown_place", "shown_state", "shown_reason", "user", "created_at", "ended_at",
    )  # fmt: skip
    list_filter = ("state", "reason")
    list_select_related = ("project", "agent", "node", "user")
    search_fields = ("=id", "agent__name", "project__slug", "user__username")
    ordering = ("-id",)

    def view_on_site(self, run: Run) -> str:
        """Its page, with what happened."""
        return reverse("run", args=[run.pk])

    def get_fields(self, request: HttpRequest, obj: Run | None = None) -> list[str]:
        shown = {"state": "shown_state", "reason": "shown_reason"}
        return [shown.get(name, name) for name in super().get_fields(request, obj)]

    @display(description="runs on", ordering="node__slug")  # type: ignore[untyped-decorator]
    def shown_place(self, run: Run) -> str:
        return run.runs_on

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        runs: QuerySet[Run] = super().get_queryset(request)
        match = request.resolver_match
        return runs.defer("prompt", "diff") if match and match.url_name == "agents_run_changelist" else runs

    @display(description="state", ordering="state", label=_COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, run: Run) -> str:
        return run.state.replace("_", " ")

    @display(description="reason", ordering="reason")  # type: ignore[untyped-decorator]
    def shown_reason(self, run: Run) -> str:
        return run.reason.replace("_", " ")


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    list_display = ("title", "project", "run", "kind", "shown_state", "outcome", "decider", "requested_at")
    list_filter = ("state", "kind", "outcome")
    list_select_related = ("project", "run")
    search_fields = ("=id", "=run__id", "title", "decided_by_label", "project__slug")
    ordering = ("-id",)

    @display(description="state", ordering="state", label=_APPROVAL_COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, approval: Approval) -> str:
        return approval.state.replace("_", " ")

    @display(description="decided by", ordering="decided_by_label")  # type: ignore[untyped-decorator]
    def decider(self, approval: Approval) -> str:
        return approval.decided_by_label


from . import policy_admin  # noqa: E402, F401  (the pages of the policy)
