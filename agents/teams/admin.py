"""The registry's page of teams. Who is in one is shown here, and changed on the project's page *People*."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from agenthub_site.accounts.hub_admin import HubAdmin

from .models import Team
from .queries import with_members
from .services import create_team, delete_team, edit_team


@admin.register(Team)
class TeamAdmin(HubAdmin):
    list_display = ("slug", "project", "name", "who", "created_at")
    search_fields = ("slug", "name", "project__slug")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        return with_members(super().get_queryset(request))

    def get_fields(self, request: HttpRequest, obj: Team | None = None) -> tuple[str, ...]:
        return ("project", "slug", "name", "who") if obj else ("project", "slug", "name")

    def get_readonly_fields(self, request: HttpRequest, obj: Team | None = None) -> tuple[str, ...]:
        return ("project", "slug", "who") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request)

    @admin.display(description="members")
    def who(self, team: Team) -> str:
        return ", ".join(member.name for member in team.members.all())

    def save_model(self, request: HttpRequest, obj: Team, form: ModelForm[Team], change: bool) -> None:
        if change:
            edit_team(obj, name=obj.name, by=self.actor(request))
            return
        obj.pk = create_team(obj.project, slug=obj.slug, name=obj.name, by=self.actor(request)).pk

    def delete_model(self, request: HttpRequest, obj: Team) -> None:
        delete_team(obj, by=self.actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Team]) -> None:
        for team in queryset:
            delete_team(team, by=self.actor(request))
