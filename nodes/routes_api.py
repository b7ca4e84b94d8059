"""REST: routes. Root operators write them; members read those of their projects."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.actors import Actor, Entry
from agenthub_site.accounts.api import find_user
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.idempotency import idempotent
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, require
from agenthub_site.accounts.rest import HubViewSet, In
from nodes.contract.errors import NotFound

from .models import Node, Route
from .queries import visible_nodes
from .routes import Answer, add_route, ask_route, edit_route, remove_route

_ENTRIES = [entry.value for entry in Entry]


class RouteChangesIn(In):
    entries = serializers.ListField(
        child=serializers.ChoiceField(choices=_ENTRIES), required=False, help_text="Empty: by all of them."
    )
    least_role = serializers.CharField(
        max_length=16, allow_blank=True, required=False, help_text="owner, maintainer, …: from it upwards."
    )
    user = serializers.CharField(max_length=150, required=False, allow_null=True, help_text="One person, by user name.")
    is_enabled = serializers.BooleanField(required=False)
    note = serializers.CharField(max_length=400, allow_blank=True, required=False)


class RouteIn(RouteChangesIn):
    project = serializers.CharField(max_length=64, help_text="A project's slug.")
    node = serializers.CharField(max_length=128, required=False, help_text="A node's slug; or which nodes fit:")
    pool = serializers.CharField(max_length=64, allow_blank=True, required=False)
    labels = serializers.DictField(
        child=serializers.CharField(max_length=256, allow_blank=True), required=False, help_text="All of them."
    )


class RouteOut(serializers.ModelSerializer[Route]):
    project = serializers.CharField(source="project.slug")
    node = serializers.CharField(source="node.slug", default=None, allow_null=True)
    labels = serializers.DictField(child=serializers.CharField())
    entries = serializers.ListField(child=serializers.ChoiceField(choices=_ENTRIES))
    least_role = serializers.CharField(allow_blank=True)
    user = serializers.CharField(source="user.username", default=None, allow_null=True)
    leads_to = serializers.CharField(help_text="In words: node:gpu-01, or nodes of pool gpu with arch=arm64.")
    is_for = serializers.CharField(help_text="In words: everybody, developer and above, or a person's name.")

    class Meta:
        model = Route
        fields = (
            "id", "project", "node", "pool", "labels", "entries", "least_role", "user", "leads_to", "is_for",
            "is_enabled", "note", "created_by", "created_at", "updated_at",
        )  # fmt: skip


class AnswerOut(serializers.Serializer[Answer]):
    is_allowed = serializers.BooleanField()
    because = serializers.CharField(help_text="In words.")
    routes = RouteOut(many=True, help_text="Those that allow it.")
    command = serializers.CharField(allow_blank=True, help_text="What a root operator types to allow it.")


class RouteFilter(filters.FilterSet):  # type: ignore[misc]
    project = filters.CharFilter("project__slug")
    node = filters.CharFilter("node__slug")

    class Meta:
        model = Route
        fields = ("project", "node")


class RouteViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Which nodes the runs of a project may use, by which entry and for whom. Without any: the local node alone."""

    queryset = Route.objects.none()
    serializer_class = RouteOut
    filterset_class = RouteFilter

    def get_queryset(self) -> QuerySet[Route]:
        routes: QuerySet[Route] = Route.objects.visible_to(self.actor)
        return routes.select_related("project", "node", "user")

    @extend_schema(request=RouteIn, responses={201: RouteOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        """Add a route. The same one twice is one."""
        given = self.read(RouteIn)
        require(self.actor, Can.MANAGE_ROUTES)
        project, node = self._project(given.pop("project")), self._node(given.pop("node", None))
        route = add_route(project, by=self.actor, node=node, **_with_user(given))
        return Response(self.get_serializer(route).data, status=201)

    @extend_schema(request=RouteChangesIn, responses=RouteOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change for whom and by which entries it is, or switch it off. Where it leads stays."""
        given = self.read(RouteChangesIn, partial=True)
        require(self.actor, Can.MANAGE_ROUTES)
        return Response(self.get_serializer(edit_route(self.get_object(), by=self.actor, **_with_user(given))).data)

    @extend_schema(responses={204: OpenApiResponse(description="Removed.")})
    def destroy(self, request: Request, pk: str) -> Response:
        """Remove it: no new run goes that way, and those under way go on."""
        remove_route(self.get_object(), by=self.actor)
        return Response(status=204)

    @extend_schema(
        filters=False,
        parameters=[
            OpenApiParameter("project", str, required=True, description="A project's slug."),
            OpenApiParameter("node", str, required=True, description="A node's slug."),
            OpenApiParameter("entry", str, enum=_ENTRIES, description="Yours, if it is left out."),
            OpenApiParameter("user", str, description="You, if it is left out; another for root operators only."),
        ],
        responses={200: AnswerOut, 404: OpenApiTypes.OBJECT},
    )
    @action(detail=False, methods=["get"], filter_backends=[], pagination_class=None)
    def test(self, request: Request) -> Response:
        """Whether somebody's run may go to a node, and what would have to be added. Nothing is started."""
        asked = request.query_params
        project = self._project(asked.get("project", ""))
        node = self._node(asked.get("node", ""))
        if node is None:
            raise NotFound()
        answer = ask_route(project, node, self._whom(asked.get("user")), asked.get("entry") or self.actor.entry)
        return Response(AnswerOut(answer).data)

    def _whom(self, username: str | None) -> Actor:
        if username is None or username == self.actor.label:
            return self.actor
        require(self.actor, Can.MANAGE_ROUTES)
        return actor_of(find_user(username))

    def _project(self, slug: str) -> Project:
        found: Project | None = Project.objects.visible_to(self.actor).filter(slug=slug).first()
        if found is None:
            raise NotFound(f"There is no project {slug!r} that you may see.")
        return found

    def _node(self, slug: str | None) -> Node | None:
        if slug is None:
            return None
        found = visible_nodes(self.actor).filter(slug=slug).first()
        if found is None:
            raise NotFound(f"There is no node {slug!r} that you may see.")
        return found


def _with_user(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "user": find_user(given["user"]) if given["user"] else None} if "user" in given else given
