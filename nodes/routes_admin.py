"""The registry's page of routes."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from agenthub_site.accounts.actors import Entry
from agenthub_site.accounts.hub_admin import HubAdmin

from .models import Route
from .routes import add_route, edit_route, remove_route

_WHERE = ("project", "node", "pool", "labels")
_WHOM = ("least_role", "user", "entries", "is_enabled", "note")


class RouteForm(ModelForm):  # type: ignore[type-arg]  # the admin makes subclasses of it, which have no arguments
    entries = forms.MultipleChoiceField(
        choices=[(entry.value, entry.value) for entry in Entry], required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget, help_text="None: by every entry.",
    )  # fmt: skip


@admin.register(Route)
class RouteAdmin(HubAdmin):
    """Who may run on which nodes. Where a route leads stays; another one is added in its place."""

    form = RouteForm
    labels = {"is_enabled": "Enabled"}
    help_texts = {
        "node": "This one; or leave it empty, and say which pool or labels a node must have.",
        "labels": 'All of them, as in {"gpu": "h100"}',
        "least_role": "Members with it or one above it. Neither role nor person: everybody who may start runs.",
        "user": "This person alone.",
        "is_enabled": "A route that is switched off leads nowhere.",
    }
    list_display = ("project", "shown_way", "shown_for", "shown_entries", "enabled", "created_by", "created_at")
    list_filter = ("is_enabled", "least_role")
    list_select_related = ("project", "node", "user")
    search_fields = ("project__slug", "node__slug", "pool", "note", "user__username")
    autocomplete_fields = ("project", "node", "user")
    ordering = ("project__slug", "id")
    fieldsets = (
        ("Where it leads: a node, or what a node must have", {"fields": _WHERE}),
        ("For whom", {"fields": _WHOM}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Route | None = None) -> tuple[str, ...]:
        return _WHERE if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def save_model(self, request: HttpRequest, obj: Route, form: ModelForm[Route], change: bool) -> None:
        by, given = self.actor(request), {**form.cleaned_data}
        if change:
            stored = Route.objects.get(pk=obj.pk)
            edit_route(stored, by=by, **{name: given[name] for name in form.changed_data})
            return
        made = add_route(given.pop("project"), by=by, **{**given, "labels": given["labels"] or {}})
        obj.pk = made.pk
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: Route) -> None:
        remove_route(obj, by=self.actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for route in queryset:
            remove_route(route, by=self.actor(request))

    @admin.display(description="leads to")
    def shown_way(self, route: Route) -> str:
        return route.leads_to

    @admin.display(description="for")
    def shown_for(self, route: Route) -> str:
        return route.is_for

    @admin.display(description="enabled", ordering="is_enabled", boolean=True)
    def enabled(self, route: Route) -> bool:
        return route.is_enabled

    @admin.display(description="by")
    def shown_entries(self, route: Route) -> str:
        return ", ".join(route.entries) or "every entry"
