"""The registry's page of nodes: register, edit, cordon, drain, through the services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.hub_admin import HubAdmin

from .evidence import health_of
from .models import Node
from .services import cordon_node, drain_node, edit_node, register_node, uncordon_node

_EDITABLE = (
    "name", "direction", "grpc_target", "tls_server_name", "default_worktree_root", "labels", "pool", "capacity",
    "is_enabled",
)  # fmt: skip
_KNOWN = (
    "id", "state", "reason", "is_cordoned", "is_draining", "generation", "version", "boot_id", "runtimes",
    "allowed_roots", "facts", "vitals", "connected_at", "last_heard_at", "created_at",
)  # fmt: skip
_COLOURS = {
    "online": "success", "degraded": "warning", "stale": "warning", "unknown": "info", "offline": "danger",
    "mismatch": "danger", "unauthorized": "danger", "disabled": "warning", "cordoned": "warning",
    "draining": "warning",
}  # fmt: skip


@admin.register(Node)
class NodeAdmin(HubAdmin):
    list_display = ("slug", "name", "state", "direction", "pool", "version", "capacity", "last_heard_at")
    list_filter = ("is_enabled", "is_cordoned", "direction", "pool")
    search_fields = ("slug", "name")
    ordering = ("slug",)
    actions = ("cordon", "uncordon", "drain")
    fieldsets = ((None, {"fields": ("slug", *_EDITABLE)}), ("What is known of it", {"fields": _KNOWN}))
    add_fieldsets = ((None, {"fields": ("slug", *_EDITABLE)}),)

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

    def get_fieldsets(self, request: HttpRequest, obj: Node | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.add_fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Node | None = None) -> tuple[str, ...]:
        return ("slug", *_KNOWN) if obj else ()

    @display(label=_COLOURS)  # type: ignore[untyped-decorator]
    def state(self, node: Node) -> str:
        if not node.is_enabled:
            return "disabled"
        status = str(self._health(node).status)
        if node.is_cordoned and status in {"online", "degraded"}:
            return "draining" if node.is_draining else "cordoned"
        return status

    def reason(self, node: Node) -> str:
        return str(self._health(node).reason)

    @staticmethod
    def _health(node: Any) -> Any:
        known = getattr(node, "known_health", None)
        return known or health_of([node], timezone.now())[node.pk]

    def save_model(self, request: HttpRequest, obj: Node, form: ModelForm[Node], change: bool) -> None:
        by, given = self.actor(request), form.cleaned_data
        if change:
            edit_node(Node.objects.get(pk=obj.pk), by=by, **{name: given[name] for name in form.changed_data})
            return
        obj.pk = register_node(by=by, slug=given["slug"], **{name: given[name] for name in _EDITABLE}).pk
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

    def _each(self, request: HttpRequest, nodes: QuerySet[Node], do: Callable[..., Node], words: str) -> None:
        by: Actor = self.actor(request)
        done = [do(node, by=by).slug for node in nodes]
        self.message_user(request, f"{', '.join(done)}: from now on they {words}.")
