"""Shapes of people, projects, members and tokens: what goes in and what comes out."""

from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from .actors import Actor, Held
from .models import ISOLATIONS, NETWORKS, Membership, Project, Role, Token, User
from .rest import In


class ProjectIn(In):
    slug = serializers.SlugField(max_length=64)
    name = serializers.CharField(max_length=128)
    description = serializers.CharField(max_length=4_000, allow_blank=True, required=False)


class ProjectChangesIn(In):
    name = serializers.CharField(max_length=128, required=False)
    description = serializers.CharField(max_length=4_000, allow_blank=True, required=False)
    required_isolation = serializers.ChoiceField(
        choices=ISOLATIONS, required=False, help_text="No run in the project has less."
    )
    required_network = serializers.ChoiceField(
        choices=NETWORKS, required=False, help_text="None: no run in the project has it; each is masked at the least."
    )


class ProjectOut(serializers.ModelSerializer[Project]):
    role = serializers.SerializerMethodField(help_text="Your own role in it; null for a root operator who has none.")

    class Meta:
        model = Project
        fields = ("id", "slug", "name", "description", "required_isolation", "required_network", "role", "created_at")

    def get_role(self, project: Project) -> str | None:
        actor: Actor = self.context["view"].actor
        return actor.roles.get(project.pk)


class MemberIn(In):
    user = serializers.CharField(max_length=150, help_text="A username.")
    role = serializers.ChoiceField(choices=Role.choices)


class MemberOut(serializers.ModelSerializer[Membership]):
    user = serializers.UUIDField(source="user_id")
    username = serializers.CharField(source="user.username")
    is_service = serializers.SerializerMethodField(help_text="Whether it is a service account, and no person.")

    class Meta:
        model = Membership
        fields = ("user", "username", "role", "is_service", "created_at")

    def get_is_service(self, membership: Membership) -> bool:
        return membership.user.service_of_id is not None


class TokenIn(In):
    name = serializers.CharField(max_length=64)
    user = serializers.CharField(
        max_length=150, required=False, help_text="Whom it speaks for: you; an owner's service account; root: anybody."
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    scope = serializers.CharField(
        max_length=400, required=False, help_text="`read`, `run`, `answer`, `all`, or capabilities: `run:start`."
    )
    project = serializers.CharField(
        max_length=64, required=False, help_text="Good in this project alone, by id or slug; left out, in all."
    )


class AgentTokenIn(In):
    name = serializers.CharField(max_length=64)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    scope = serializers.CharField(max_length=400, required=False, help_text="As of any token; left out: all it may.")


class TokenOut(serializers.ModelSerializer[Token]):
    user = serializers.CharField(source="owner", help_text="The username, or an agent as `project/name`.")
    agent = serializers.UUIDField(source="agent_id", allow_null=True)

    class Meta:
        model = Token
        fields = (
            "id", "name", "user", "agent", "project", "scope", "hint", "created_at", "expires_at", "last_used_at",
            "revoked_at",
        )  # fmt: skip


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
    role = serializers.CharField(help_text="Your role in it; an agent's is `agent`.")


class MyTokenOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    scope = serializers.ListField(child=serializers.CharField())
    expires_at = serializers.DateTimeField(allow_null=True)
    project = serializers.UUIDField(source="project_id", allow_null=True)


@dataclass(frozen=True)
class Me:
    """Who asks, as they are told."""

    id: str
    kind: str
    username: str
    email: str
    is_root: bool
    projects: list[dict[str, Any]]
    token: Held | None

    @classmethod
    def of(cls, actor: Actor, user: object) -> "Me":
        projects = Project.objects.filter(pk__in=actor.roles).order_by("slug")
        mine = [{"id": p.pk, "slug": p.slug, "name": p.name, "role": actor.roles[p.pk]} for p in projects]
        is_service = isinstance(user, User) and user.service_of_id is not None
        email = user.email if isinstance(user, User) else ""
        kind = "service" if is_service else str(actor.kind)
        return cls(actor.id, kind, actor.label, email, actor.is_root, mine, actor.token)


class MeOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=["user", "service", "agent"])
    username = serializers.CharField(help_text="Of an agent, `project/name`.")
    email = serializers.CharField()
    is_root = serializers.BooleanField()
    projects = MyProjectOut(many=True)
    token = MyTokenOut(allow_null=True, help_text="What the token that you came with lets you do at most.")
