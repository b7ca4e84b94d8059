"""The registry's page of the trail: to read, to search, never to change."""

from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from .models import AuditEvent

_TABLE: Final = AuditEvent._meta.db_table
_NAMES: Final = (
    f"WITH RECURSIVE found (name) AS (SELECT min(name) FROM {_TABLE} UNION ALL "  # noqa: S608  (constants only)
    f"SELECT (SELECT min(name) FROM {_TABLE} WHERE name > found.name) FROM found WHERE found.name IS NOT NULL) "
    f"SELECT name, (SELECT object_kind FROM {_TABLE} WHERE name = found.name LIMIT 1) FROM found WHERE name IS NOT NULL"
)
"""The names there are, each with what one of its events was about. Each is found by the index of names: ``DISTINCT``
would read the whole trail."""


class _ByValue(admin.SimpleListFilter):
    """The events whose ``column`` is what was chosen; the addresses are those of Django's own filters."""

    column: ClassVar[str]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, value) for value in self.values()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset

    def values(self) -> list[str]:
        """What can be chosen, in order."""
        raise NotImplementedError


def _names() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(_NAMES)
        return list(cursor.fetchall())


class NameFilter(_ByValue):
    title, parameter_name, column = "name", "name__exact", "name"

    def values(self) -> list[str]:
        return [name for name, _ in _names()]


class ObjectFilter(_ByValue):
    title, parameter_name, column = "object kind", "object_kind__exact", "object_kind"

    def values(self) -> list[str]:
        return sorted({kind for _, kind in _names() if kind})


class ActorFilter(_ByValue):
    title, parameter_name, column = "actor kind", "actor_kind__exact", "actor_kind"

    def values(self) -> list[str]:
        return ["agent", "anonymous", "integration", "node", "system", "user"]


@admin.register(AuditEvent)
class AuditEventAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("at", "name", "actor", "object", "address", "belongs_to")
    list_filter = (("at", admin.DateFieldListFilter), NameFilter, ActorFilter, ObjectFilter)
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
    search_help_text = "Name, who, or a whole id"
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
