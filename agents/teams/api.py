"""REST: teams. Whoever sees a project sees its teams; who manages them changes them."""

from typing import Any

import django_filters as filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.api import find_project
from agenthub_site.accounts.idempotency import idempotent
from agenthub_site.accounts.rest import HubViewSet, In

from ..filters import by_id_or
from .models import Team, TeamMember
from .queries import with_members
from .services import AT_ONCE, NAME_CHARS, add_to_team, create_team, delete_team, edit_team, remove_from_team


class TeamFilter(filters.FilterSet):  # type: ignore[misc]
    project = filters.CharFilter(method="by_project", label="A project's slug or id.")

    by_project = by_id_or("project__slug", "project_id")

    class Meta:
        model = Team
        fields = ("project", "slug")


class TeamChangesIn(In):
    name = serializers.CharField(max_length=NAME_CHARS)


class TeamIn(In):
    project = serializers.CharField(max_length=64, help_text="A slug or id.")
    slug = serializers.CharField(max_length=64, help_text="It is written to as team:SLUG.")
    name = serializers.CharField(max_length=NAME_CHARS, required=False, help_text="As the slug, if left out.")
    members = serializers.ListField(
        child=serializers.CharField(max_length=200), required=False, max_length=AT_ONCE,
        help_text="Agents and people: mender, agent:ID, user:bob.",
    )  # fmt: skip


class MembersIn(In):
    members = serializers.ListField(
        child=serializers.CharField(max_length=200), min_length=1, max_length=AT_ONCE,
        help_text="Agents and people: mender, agent:ID, user:bob.",
    )  # fmt: skip


class TeamMemberOut(serializers.Serializer[TeamMember]):
    kind = serializers.ChoiceField(["agent", "user"], source="address.kind")
    id = serializers.CharField(source="address.id")
    name = serializers.CharField()


class TeamOut(serializers.ModelSerializer[Team]):
    project = serializers.CharField(source="project.slug")
    members = TeamMemberOut(many=True)

    class Meta:
        model = Team
        fields = ("id", "project", "slug", "name", "members", "created_at")


class TeamViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Groups of a project's agents and people, written to as ``team:SLUG``. Everybody is in ``team:all``, unlisted."""

    queryset = Team.objects.none()
    serializer_class = TeamOut
    filterset_class = TeamFilter

    def get_queryset(self) -> "QuerySet[Team]":
        return with_members(Team.objects.visible_to(self.actor))

    @extend_schema(request=TeamIn, responses={201: TeamOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        """Make a team, with its first members if there are any."""
        given = self.read(TeamIn)
        project = find_project(self.actor, given.pop("project"))
        return self._told(create_team(project, by=self.actor, **given), status=201)

    @extend_schema(request=TeamChangesIn, responses=TeamOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Call it otherwise. Its slug stays."""
        team = self.get_object()
        changes: dict[str, Any] = self.read(TeamChangesIn, partial=True)
        return self._told(edit_team(team, by=self.actor, **{"name": team.name, **changes}))

    @extend_schema(responses={204: OpenApiResponse(description="Deleted; what was written to it stays.")})
    def destroy(self, request: Request, pk: str) -> Response:
        delete_team(self.get_object(), by=self.actor)
        return Response(status=204)

    @extend_schema(request=MembersIn, responses=TeamOut)
    @action(detail=True, methods=["post"], url_path="add-members")
    def add_members(self, request: Request, pk: str) -> Response:
        """Put agents and people of the project into it: all of those named, or none. Who is in it already stays."""
        team = self.get_object()
        add_to_team(team, self.read(MembersIn)["members"], by=self.actor)
        return self._told(team)

    @extend_schema(request=MembersIn, responses=TeamOut)
    @action(detail=True, methods=["post"], url_path="remove-members")
    def remove_members(self, request: Request, pk: str) -> Response:
        """Take some out: all of those named, or none. What was written to them stays theirs."""
        team = self.get_object()
        remove_from_team(team, self.read(MembersIn)["members"], by=self.actor)
        return self._told(team)

    def _told(self, team: Team, status: int = 200) -> Response:
        fresh = get_object_or_404(with_members(Team.objects.all()), pk=team.pk)  # another may have deleted it just now
        return Response(self.get_serializer(fresh).data, status=status)
