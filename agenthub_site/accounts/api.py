"""REST: projects and their members, tokens, and oneself."""

from typing import Any

from django.db.models import Q, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from nodes.contract.errors import Forbidden, Invalid, NotFound
from nodes.contract.ids import uuid_of

from . import services
from .actors import Actor
from .authentication import forget_actor
from .idempotency import idempotent
from .models import Membership, Project, Token, User
from .permissions import Can, require
from .rest import HubViewSet
from .serializers import (
    Me,
    MemberIn,
    MemberOut,
    MeOut,
    NewTokenOut,
    ProjectChangesIn,
    ProjectIn,
    ProjectOut,
    TokenIn,
    TokenOut,
)
from .tokens import create_token, revoke_token, visible_tokens


class ProjectViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Projects that you may see. Root operators make them; maintainers change them; owners choose the members."""

    queryset = Project.objects.none()
    serializer_class = ProjectOut

    def get_queryset(self) -> QuerySet[Project]:
        projects: QuerySet[Project] = Project.objects.visible_to(self.actor)
        return projects

    @extend_schema(request=ProjectIn, responses={201: ProjectOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        project = services.create_project(by=self.actor, **self.read(ProjectIn))
        forget_actor(request)  # the maker is its owner now
        return Response(self.get_serializer(project).data, status=201)

    @extend_schema(request=ProjectChangesIn, responses=ProjectOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        project = services.edit_project(self.get_object(), by=self.actor, **self.read(ProjectChangesIn))
        return Response(self.get_serializer(project).data)

    @extend_schema(responses=MemberOut(many=True), filters=False)
    @action(detail=True, methods=["get"], filter_backends=[])
    def members(self, request: Request, pk: str) -> Response:
        """Who belongs to the project, with their roles."""
        members = Membership.objects.filter(project=self.get_object()).select_related("user")
        return self.get_paginated_response(MemberOut(self.paginate_queryset(members), many=True).data)

    @extend_schema(request=MemberIn, responses={201: MemberOut})
    @members.mapping.post
    @idempotent()
    def add_member(self, request: Request, pk: str) -> Response:
        """Add somebody, or change a member's role."""
        project, given = self.get_object(), self.read(MemberIn)
        require(self.actor, Can.MANAGE_MEMBERS, project.pk)
        member = services.add_member(project, find_user(given["user"]), given["role"], self.actor)
        return Response(MemberOut(member).data, status=201)

    @extend_schema(
        parameters=[OpenApiParameter("user", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        responses={204: OpenApiResponse(description="Removed.")},
    )
    @action(detail=True, methods=["delete"], url_path=r"members/(?P<user>[0-9a-f-]{36})")
    def remove_member(self, request: Request, pk: str, user: str) -> Response:
        """Take somebody out of the project; anybody may leave by themselves."""
        member = Membership.objects.filter(project=self.get_object(), user=uuid_of(user)).select_related("user").first()
        if member is None:
            raise NotFound()
        services.remove_member(member.project, member.user, self.actor)
        return Response(status=204)


class TokenViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Your bearer tokens; an owner's list has those of the project's service accounts, root's has everybody's."""

    queryset = Token.objects.none()
    serializer_class = TokenOut

    def get_queryset(self) -> QuerySet[Token]:
        return visible_tokens(self.actor)

    @extend_schema(request=TokenIn, responses={201: NewTokenOut})
    @idempotent(untold=("token",))
    def create(self, request: Request) -> Response:
        """Make a token. Its secret is in this answer and never told again.

        Made with a token, it is never wider: no scope, time or project that the other has not; and it goes with it.
        """
        given = self.read(TokenIn)
        token, secret = create_token(
            self._whose(given.get("user")), given["name"], self.actor, given.get("expires_at"),
            scope=given.get("scope"), project=self._project(given.get("project")),
        )  # fmt: skip
        context = {**self.get_serializer_context(), "secret": secret}
        return Response(NewTokenOut(token, context=context).data, status=201)

    def _whose(self, username: str | None) -> User:
        own: Any = self.request.user
        if not isinstance(own, User):
            raise Forbidden("An agent makes no tokens.")
        if username in (None, own.username):
            return own
        user = User.objects.filter(username=username, is_active=True).first()
        if user is not None and user.service_of_id in self.actor.roles:
            return user
        if not self.actor.sees_all:
            raise Forbidden("You may make tokens for yourself only.")
        return find_user(username or "")

    def _project(self, wanted: str | None) -> Project | None:
        return find_project(self.actor, wanted) if wanted else None

    @extend_schema(responses={204: OpenApiResponse(description="Revoked.")})
    def destroy(self, request: Request, pk: str) -> Response:
        """Revoke a token: it is refused from now on."""
        revoke_token(self.get_object(), self.actor)
        return Response(status=204)


class MeViewSet(HubViewSet):
    """Who you are to the hub."""

    serializer_class = MeOut
    queryset = User.objects.none()
    pagination_class = None

    @extend_schema(responses=MeOut, operation_id="me_retrieve")
    def list(self, request: Request) -> Response:
        return Response(MeOut(Me.of(self.actor, request.user)).data)


def find_user(username: str) -> User:
    """An active user by name. ``Invalid`` otherwise: only those get this far who may choose among people."""
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None:
        raise Invalid(f"There is no active user named {username!r}.", fields={"user": ["There is no such user."]})
    return user


def find_project(actor: Actor, wanted: str) -> Project:
    """A visible project by id or slug."""
    pk = uuid_of(wanted)
    project: Project | None = Project.objects.visible_to(actor).filter(Q(pk=pk) if pk else Q(slug=wanted)).first()
    if project is None:
        raise NotFound(f"There is no project {wanted[:64]!r} that you may see.")
    return project
