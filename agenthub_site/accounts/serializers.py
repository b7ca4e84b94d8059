"""Shapes of people, projects, members and tokens: what goes in and what comes out."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from .actors import Actor
from .models import Membership, Project, Role, Token, User
from .rest import In


class ProjectIn(In):
    slug = serializers.SlugField(max_length=64)
    name = serializers.CharField(max_length=128)
    description = serializers.CharField(max_length=4_000, allow_blank=True, required=False)


class ProjectChangesIn(In):
    name = serializers.CharField(max_length=128, required=False)
    description = serializers.CharField(max_length=4_000, allow_blank=True, required=False)


class ProjectOut(serializers.ModelSerializer[Project]):
    role = serializers.SerializerMethodField(help_text="Your own role in it; null for a root operator who has none.")

    class Meta:
        model = Project
        fields = ("id", "slug", "name", "description", "role", "created_at")

    def get_role(self, project: Project) -> str | None:
        actor: Actor = self.context["view"].actor
        return actor.roles.get(project.pk)


class MemberIn(In):
    user = serializers.CharField(max_length=150, help_text="A username.")
    role = serializers.ChoiceField(choices=Role.choices)


class MemberOut(serializers.ModelSerializer[Membership]):
    user = serializers.UUIDField(source="user_id")
    username = serializers.CharField(source="user.username")

    class Meta:
        model = Membership
        fields = ("user", "username", "role", "created_at")


class TokenIn(In):
    name = serializers.CharField(max_length=64)
    user = serializers.CharField(max_length=150, required=False, help_text="Whom it speaks for; root only.")
    expires_at = serializers.DateTimeField(required=False, allow_null=True)


class TokenOut(serializers.ModelSerializer[Token]):
    user = serializers.CharField(source="user.username")

    class Meta:
        model = Token
        fields = ("id", "name", "user", "hint", "created_at", "expires_at", "last_used_at", "revoked_at")


class NewTokenOut(TokenOut):
    token = serializers.SerializerMethodField(help_text="The secret: told here, and never again.")

    class Meta(TokenOut.Meta):
        fields = (*TokenOut.Meta.fields, "token")  # type: ignore[assignment]

    def get_token(self, _token: Token) -> str | None:
        secret: str = self.context["secret"]
        return secret


class MyProjectOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)


class MeOut(serializers.ModelSerializer[User]):
    is_root = serializers.BooleanField(source="is_superuser")
    projects = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ("id", "username", "email", "is_root", "projects")

    @extend_schema_field(MyProjectOut(many=True))
    def get_projects(self, user: User) -> list[dict[str, Any]]:
        memberships = user.memberships.select_related("project").order_by("project__slug")
        return [
            {"id": m.project.pk, "slug": m.project.slug, "name": m.project.name, "role": m.role} for m in memberships
        ]
