"""REST: users, for root operators; invitations and service accounts of a project, for its owners."""

from typing import Any, Final

from django.conf import settings
from django.core.cache import cache
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import mixins, serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from nodes.contract.errors import Forbidden, HubError, Invalid

from . import invitations, services
from .api import find_project
from .authentication import request_actor, request_address
from .models import Invitation, Membership, Project, Role, User
from .permissions import Can, require
from .rest import HubViewSet, In
from .serializers import MemberOut

TRIES: Final = 20
WINDOW_SECONDS: Final = 300


class TooManyTries(HubError):
    code, http, grpc = "throttled", 429, "RESOURCE_EXHAUSTED"
    message = "Too many tries from this address; wait five minutes."


def bound_tries(request: Any) -> None:
    """At most ``TRIES`` in five minutes from an address: accepting may hash a password, which is slow by design."""
    key = f"invitation:{request_address(request)}"
    cache.add(key, 0, WINDOW_SECONDS)
    try:
        if cache.incr(key) > TRIES:
            raise TooManyTries()
    except ValueError:  # the window ended just now
        return


class UserIn(In):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4_096, trim_whitespace=False, required=False, write_only=True)
    email = serializers.EmailField(required=False, allow_blank=True)
    is_root = serializers.BooleanField(required=False)


class UserChangesIn(In):
    email = serializers.EmailField(required=False, allow_blank=True)
    is_active = serializers.BooleanField(required=False)
    is_root = serializers.BooleanField(required=False)


class UserOut(serializers.ModelSerializer[User]):
    is_root = serializers.BooleanField(source="is_superuser")
    service_of = serializers.UUIDField(
        source="service_of_id", allow_null=True, help_text="A service account's project."
    )

    class Meta:
        model = User
        fields = ("id", "username", "email", "is_active", "is_root", "service_of", "date_joined", "last_login")


class UserViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Everybody, for root operators. People are made inactive, not deleted: the trail names them."""

    queryset = User.objects.none()
    serializer_class = UserOut
    filter_backends = ()

    def get_queryset(self) -> QuerySet[User]:
        require(self.actor, Can.MANAGE_USERS)
        return User.objects.order_by("id")

    @extend_schema(request=UserIn, responses={201: UserOut})
    def create(self, request: Request) -> Response:
        """Make a local account. Without a password it signs in by other means only."""
        require(self.actor, Can.MANAGE_USERS)
        given = self.read(UserIn)
        user = services.create_user(
            given["username"], by=self.actor, password=given.get("password"), email=given.get("email", ""),
            is_superuser=given.get("is_root", False),
        )  # fmt: skip
        return Response(UserOut(user).data, status=201)

    @extend_schema(request=UserChangesIn, responses=UserOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change an account. An inactive one has no session and no valid token any more."""
        user, given = self.get_object(), self.read(UserChangesIn, partial=True)
        if "is_root" in given:
            given["is_superuser"] = given.pop("is_root")
        return Response(UserOut(services.edit_user(user, by=self.actor, **given)).data)


class ServiceAccountIn(In):
    name = serializers.CharField(max_length=150)
    role = serializers.ChoiceField(choices=Role.choices, default=Role.DEVELOPER)


class ServiceAccountsView(APIView):
    @extend_schema(operation_id="service_accounts_create", request=ServiceAccountIn, responses={201: MemberOut})
    def post(self, request: Request, project: str) -> Response:
        """Make a member for programs: it has tokens, and neither password nor session. Owners do; not as an owner."""
        actor = request_actor(request)
        found = find_project(actor, project)
        require(actor, Can.MANAGE_MEMBERS, found.pk)
        given = _read(request, ServiceAccountIn)
        user = services.create_service_account(found, given["name"], given["role"], actor)
        member = Membership.objects.select_related("user").get(project=found, user=user)
        return Response(MemberOut(member).data, status=201)


class InvitationIn(In):
    role = serializers.ChoiceField(choices=Role.choices, default=Role.DEVELOPER)
    email = serializers.EmailField(
        required=False, allow_blank=True, help_text="For this account alone. Nothing is sent."
    )
    days = serializers.IntegerField(min_value=1, max_value=invitations.MOST_DAYS, default=invitations.DAYS)


class InvitationOut(serializers.ModelSerializer[Invitation]):
    invited_by = serializers.CharField(source="invited_by.username")
    accepted_by = serializers.CharField(source="accepted_by.username", default=None, allow_null=True)

    class Meta:
        model = Invitation
        fields = (
            "id", "project", "role", "email", "invited_by", "created_at", "expires_at", "accepted_at", "accepted_by",
            "revoked_at",
        )  # fmt: skip


class NewInvitationOut(InvitationOut):
    token = serializers.SerializerMethodField(help_text="Told here, and never again.")
    path = serializers.SerializerMethodField(help_text="Where it is accepted, below this hub's address.")
    url = serializers.SerializerMethodField(help_text="The same with the hub's public address; empty if it has none.")

    class Meta(InvitationOut.Meta):
        fields = (*InvitationOut.Meta.fields, "token", "path", "url")  # type: ignore[assignment]

    def get_token(self, _invitation: Invitation) -> str:
        secret: str = self.context["secret"]
        return secret

    def get_path(self, _invitation: Invitation) -> str:
        return f"/invitations/{self.context['secret']}/"

    def get_url(self, invitation: Invitation) -> str:
        public = settings.CONFIG.server.public_url.rstrip("/")
        return f"{public}{self.get_path(invitation)}" if public else ""


class InvitationsView(APIView):
    @extend_schema(operation_id="invitations_list", responses=InvitationOut(many=True))
    def get(self, request: Request, project: str) -> Response:
        """The project's invitations, the newest first, at most 200; without their secrets."""
        found = _managed(request, project)
        known = Invitation.objects.filter(project=found).select_related("invited_by", "accepted_by")[:200]
        return Response(InvitationOut(known, many=True).data)

    @extend_schema(operation_id="invitations_create", request=InvitationIn, responses={201: NewInvitationOut})
    def post(self, request: Request, project: str) -> Response:
        """Invite somebody by a link, which is in this answer alone. The hub sends no mail."""
        found = _managed(request, project)
        invitation, secret = invitations.invite(found, by=request_actor(request), **_read(request, InvitationIn))
        return Response(NewInvitationOut(invitation, context={"secret": secret}).data, status=201)


class InvitationView(APIView):
    @extend_schema(operation_id="invitations_destroy", responses={204: OpenApiResponse(description="Withdrawn.")})
    def delete(self, request: Request, project: str, invitation: str) -> Response:
        """Withdraw an invitation: its link leads nowhere from now on."""
        found = get_object_or_404(Invitation, project=_managed(request, project), pk=invitation)
        invitations.revoke_invitation(found, request_actor(request))
        return Response(status=204)


class AcceptIn(In):
    token = serializers.CharField(max_length=200)
    username = serializers.CharField(max_length=150, required=False, help_text="For a new account, with a password.")
    password = serializers.CharField(max_length=4_096, trim_whitespace=False, required=False, write_only=True)


class AcceptedOut(serializers.Serializer[Any]):
    project = serializers.UUIDField()
    slug = serializers.CharField()
    role = serializers.CharField()
    username = serializers.CharField()


class AcceptView(APIView):
    permission_classes = (AllowAny,)

    @extend_schema(operation_id="invitations_accept", request=AcceptIn, responses=AcceptedOut)
    def post(self, request: Request) -> Response:
        """Become a member: whoever is signed in, or with a new account by ``username`` and ``password``."""
        bound_tries(request._request)
        given = _read(request, AcceptIn)
        invitation = invitations.find_invitation(given["token"])
        if "username" in given or "password" in given:
            if request.auth is not None or isinstance(request.user, User):
                raise Invalid("You are signed in: accept it as yourself, or without signing in.")
            user = invitations.accept_with_new_account(
                given["token"], given.get("username", ""), given.get("password", ""),
                address=request_address(request._request),
            )  # fmt: skip
        else:
            actor = request_actor(request)
            if not isinstance(request.user, User):
                raise Forbidden("An invitation is for people.")
            user = invitations.accept_invitation(given["token"], request.user, actor).user
        told = {"project": invitation.project_id, "slug": invitation.project.slug, "role": invitation.role}
        return Response({**told, "username": user.username})


def _managed(request: Request, project: str) -> Project:
    actor = request_actor(request)
    found = find_project(actor, project)
    require(actor, Can.MANAGE_MEMBERS, found.pk)
    return found


def _read(request: Request, shape: type[In]) -> dict[str, Any]:
    given = shape(data=request.data)
    given.is_valid(raise_exception=True)
    values: dict[str, Any] = given.validated_data
    return values
