"""The registry's page of the trail: to read, to search, never to change."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from .models import AuditEvent


@admin.register(AuditEvent)
class AuditEventAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("at", "name", "actor", "object", "address", "belongs_to")
    list_filter = (("at", admin.DateFieldListFilter), "name", "actor_kind", "object_kind")
    search_fields = (
        "name",
        "actor_label",
        "data",
        *(
            f"={name}"
            for name in ("actor_id", "object_id", "project", "run", "node", "approval", "artifact", "address")
        ),
    )
    ordering = ("-id",)
    show_full_result_count = False
    list_per_page = 100
    actions = None

    @admin.display(description="by", ordering="actor_label")
    def actor(self, event: AuditEvent) -> str:
        return event.actor_label or event.actor_kind

    @admin.display(description="on", ordering="object_kind")
    def object(self, event: AuditEvent) -> str:
        return f"{event.object_kind} {event.object_id}"

    @admin.display(description="stream", ordering="stream")
    def belongs_to(self, event: AuditEvent) -> str:
        return f"{event.stream.partition(':')[0]} #{event.number}"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_active and getattr(request.user, "is_superuser", False)

    has_module_permission = has_view_permission

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_delete_permission = has_change_permission
