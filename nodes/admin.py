"""The registry's page of nodes: register, edit, cordon, drain, through the services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Field, QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.hub_admin import HubAdmin
from agenthub_site.accounts.models import Project

from .connection import try_connection
from .evidence import health_of
from .models import Node
from .routes import allow_projects
from .routes_admin import RouteAdmin  # noqa: F401 (registered by being imported)
from .services import cordon_node, drain_node, edit_node, register_node, uncordon_node

_EDITABLE = (
    "name", "direction", "grpc_target", "tls_server_name", "default_worktree_root", "labels", "pool", "capacity",
    "is_enabled",
)  # fmt: skip
_KNOWN = (
    "id", "state", "reason", "is_cordoned", "is_draining", "generation", "version", "boot_id", "runtimes",
    "allowed_roots", "facts", "vitals", "measured", "connected_at", "last_heard_at", "created_at",
)  # fmt: skip
_MOST_TESTED = 5
_LABELS = {
    "slug": "Id", "id": "UUID", "grpc_target": "gRPC target", "tls_server_name": "TLS server name",
    "is_enabled": "Enabled", "is_cordoned": "Cordoned", "is_draining": "Draining", "boot_id": "Boot id",
}  # fmt: skip
_HELP = {
    "slug": "1 to 128 of A-Z a-z 0-9 . _ : - as in us-east-gpu-01. It stays.",
    "grpc_target": "https://host:port, for the hub to dial; nothing for a node that dials the hub.",
    "tls_server_name": "The name in the node's certificate, if it is not the target's host.",
    "default_worktree_root": "Where runs' worktrees are made: within the node's safe paths. Empty: its own.",
    "labels": 'Texts by name, to find nodes by: {"gpu": "h100", "zone": "eu-north"}',
    "pool": "Nodes that do the same for each other: an agent may run on any node of a pool.",
    "capacity": "Runs at once. The lesser of this and what the node says counts.",
    "is_enabled": "A disabled node gets no work.",
}
_COLOURS = {
    "online": "success", "degraded": "warning", "stale": "warning", "unknown": "info", "offline": "danger",
    "mismatch": "danger", "unauthorized": "danger", "disabled": "warning", "revoked": "danger", "cordoned": "warning",
    "draining": "warning",
}  # fmt: skip


class NodeForm(ModelForm):  # type: ignore[type-arg]  # the admin makes subclasses of it, which have no arguments
    allow_projects = forms.ModelMultipleChoiceField(
        Project.objects.all(), required=False, label="Projects that may use this node",
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Each gets a route to it. Routes have a page of their own, with entries, roles and persons.",
    )  # fmt: skip


@admin.register(Node)
class NodeAdmin(HubAdmin):
    form = NodeForm
    field_names: ClassVar = {"id": "slug"}
    labels = _LABELS
    help_texts = _HELP
    list_display = ("node_id", "name", "state", "direction", "pool", "version", "capacity", "last_heard_at")
    list_filter = ("is_enabled", "is_cordoned", "direction", "pool")
    search_fields = ("slug", "name")
    ordering = ("slug",)
    actions = ("test", "cordon", "uncordon", "drain", "revoke")
    actions_list = ("join",)
    actions_detail = ("look",)
    fieldsets = ((None, {"fields": ("slug", *_EDITABLE)}), ("What is known of it", {"fields": _KNOWN}))
    add_fieldsets = ((None, {"fields": ("slug", *_EDITABLE, "allow_projects")}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        nodes: QuerySet[Node] = super().get_queryset(request)
        return nodes.filter(removed_at=None)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """With the health of all nodes of the page, asked for at once."""
        page: ChangeList = super().get_changelist_instance(request)
        shown: list[Any] = list(page.result_list)
        health = health_of(shown, timezone.now())
        for node in shown:
            node.known_health = health[node.pk]
        page.result_list = shown
        return page

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "labels":  # compared with what is stored; a form that leaves out what it had shown counts
            kwargs["show_hidden_initial"] = False
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Node | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.add_fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Node | None = None) -> tuple[str, ...]:
        return ("slug", *_KNOWN) if obj else ()

    @admin.display(description="id", ordering="slug")
    def node_id(self, node: Node) -> str:
        return node.slug

    @display(label=_COLOURS)  # type: ignore[untyped-decorator]
    def state(self, node: Node) -> str:
        return str(self._health(node).state)

    def reason(self, node: Node) -> str:
        return str(self._health(node).reason)

    @staticmethod
    def _health(node: Any) -> Any:
        known = getattr(node, "known_health", None)
        return known or health_of([node], timezone.now())[node.pk]

    def save_model(self, request: HttpRequest, obj: Node, form: ModelForm[Node], change: bool) -> None:
        by, given = self.actor(request), {**form.cleaned_data}
        given["labels"] = given["labels"] or {}  # an empty field is None here
        if change:
            edit_node(Node.objects.get(pk=obj.pk), by=by, **{name: given[name] for name in form.changed_data})
            return
        obj.pk = register_node(by=by, slug=given["slug"], **{name: given[name] for name in _EDITABLE}).pk
        allow_projects(Node.objects.get(pk=obj.pk), given["allow_projects"], by=by)
        obj.refresh_from_db()

    @admin.action(description="Cordon: take no new runs", permissions=["change"])
    def cordon(self, request: HttpRequest, nodes: QuerySet[Node]) -> None:
        self._each(request, nodes, cordon_node, "take no new runs; those they have go on")

    @admin.action(description="Uncordon: take new runs again", permissions=["change"])
    def uncordon(self, request: HttpRequest, nodes: QuerySet[Node]) -> None:
        self._each(request, nodes, uncordon_node, "take new runs again")

    @admin.action(description="Drain: become empty", permissions=["change"])
    def drain(self, request: HttpRequest, nodes: QuerySet[Node]) -> None:
        self._each(request, nodes, drain_node, "take no new runs, and show as draining until their last run has ended")

    @admin.action(description=f"Test connection (of {_MOST_TESTED} at most)", permissions=["change"])
    def test(self, request: HttpRequest, nodes: QuerySet[Node]) -> None:
        by, chosen = self.actor(request), list(nodes[: _MOST_TESTED + 1])
        if len(chosen) > _MOST_TESTED:
            self.message_user(request, f"Choose {_MOST_TESTED} at most: each takes up to ten seconds.", messages.ERROR)
            return
        for node in chosen:
            tried = try_connection(node, by=by)
            level = messages.SUCCESS if tried.is_reached else messages.ERROR
            self.message_user(request, f"{node.slug}: {tried.text}", level)

    @admin.action(description="Revoke: end its part for good, after a question", permissions=["change"])
    def revoke(self, request: HttpRequest, nodes: QuerySet[Node]) -> HttpResponse | None:
        chosen = list(nodes[:2])
        if len(chosen) == 1:
            return redirect("revoke_node", chosen[0].pk)
        self.message_user(request, "Choose one node: each is asked about by itself.", messages.ERROR)
        return None

    @action(description="Join node with token", url_path="join", permissions=["add"])  # type: ignore[untyped-decorator]
    def join(self, request: HttpRequest) -> HttpResponse:
        return redirect("join_node")

    @action(description="Health, test, drain, revoke", url_path="look", permissions=["view"])  # type: ignore[untyped-decorator]
    def look(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Nothing is done here: the node's page has a button for each, which asks as it should."""
        node = self.get_object(request, object_id)
        if node is None:
            raise Http404
        return redirect("node", node.pk)

    def _each(self, request: HttpRequest, nodes: QuerySet[Node], do: Callable[..., Node], words: str) -> None:
        by: Actor = self.actor(request)
        done = [do(node, by=by).slug for node in nodes]
        self.message_user(request, f"{', '.join(done)}: from now on they {words}.")
