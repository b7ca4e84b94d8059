"""Users, projects, memberships, tokens."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import ClassVar, Final, Self, get_args

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from nodes.contract.ids import new_id
from nodes.contract.isolation import LEVELS, Network

from .actors import Actor, ActorKind


class User(AbstractUser):
    """A person, or a project's service account. A root operator is a superuser; the first one is named ``root``.

    A service account (``service_of``) is no person: it has tokens, and neither password nor session.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    service_of = models.ForeignKey(
        "Project", null=True, blank=True, editable=False, on_delete=models.PROTECT, related_name="service_accounts"
    )

    class Meta(AbstractUser.Meta):
        constraints = [
            models.CheckConstraint(
                condition=Q(service_of=None) | Q(is_superuser=False, is_staff=False),
                name="a_service_account_is_no_operator",
            ),
            models.UniqueConstraint(
                Lower("username"),
                name="user_names_differ_in_more_than_case",
                violation_error_message="There is a user of that name, or of one that differs only in case, already.",
            ),
        ]
        ordering = ("username",)

    @property
    def may_sign_in(self) -> bool:
        """With a session, that is: to the pages and the registry."""
        return self.is_active and self.service_of_id is None


class Role(models.TextChoices):
    """What a member may do; the capabilities of each stand in ``permissions.py``."""

    OWNER = "owner"
    MAINTAINER = "maintainer"
    DEVELOPER = "developer"
    REVIEWER = "reviewer"
    VIEWER = "viewer"


ISOLATIONS: Final = [(level, level) for level in LEVELS]
NETWORKS: Final = [(name, name) for name in get_args(Network)]


class ProjectQuerySet(models.QuerySet["Project"]):
    def visible_to(self, actor: Actor) -> Self:
        """Root and the system see all; a member, an agent or a service account its own projects."""
        return self if actor.sees_all else self.filter(id__in=actor.project_ids)


class ServiceAccount(User):
    """A user that is no person, for the registry's page of them."""

    class Meta:
        proxy = True


class Project(models.Model):
    """The boundary of visibility."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=128)
    description = models.TextField(blank=True, max_length=4_000)
    required_isolation = models.CharField(
        max_length=16, choices=ISOLATIONS, default="none", help_text="No run in the project has less."
    )
    required_network = models.CharField(
        max_length=16, choices=NETWORKS, default="shared", db_default="shared",
        help_text="None: no run in the project has the network, and each is masked at the least.",
    )  # fmt: skip
    created_at = models.DateTimeField(auto_now_add=True)
    members: models.ManyToManyField[User, Membership] = models.ManyToManyField(
        User, through="Membership", related_name="projects"
    )

    objects: ClassVar = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    """A person's role in a project."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.DEVELOPER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_project"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_is_known"),
        ]
        ordering = ("project", "user")

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.project}"


class Token(models.Model):
    """A bearer token of a person, a service account or an agent: shown once, kept as a digest.

    An agent's has its id, and no foreign key: agents are further up. It is bound to the agent's project.
    """

    PREFIX = "aht_"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="tokens")
    agent_id = models.UUIDField(null=True, blank=True, editable=False, db_index=True)
    agent_label = models.CharField(max_length=150, blank=True, editable=False, default="", db_default="")
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=64)
    scope = models.CharField(max_length=400, default="all", db_default="all")
    hint = models.CharField(max_length=16, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    made_with = models.ForeignKey(
        "self", null=True, blank=True, editable=False, on_delete=models.CASCADE, related_name="made"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=False, agent_id=None)
                | Q(user=None, agent_id__isnull=False, project__isnull=False),
                name="a_token_speaks_for_a_user_or_for_an_agent_in_its_project",
            ),
        ]
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    @property
    def owner(self) -> str:
        """Whom it speaks for, in words."""
        return self.user.username if self.user else self.agent_label

    @staticmethod
    def digest_of(secret: str) -> str:
        """SHA-256, in hex. Enough for a secret of 256 random bits."""
        return hashlib.sha256(secret.encode()).hexdigest()

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


class Invitation(models.Model):
    """A link with which somebody becomes a member, once. Kept as a digest."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=16, choices=Role.choices)
    email = models.EmailField(blank=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="invitations")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(role__in=Role.values), name="invitation_role_is_known"),
        ]
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.role} of {self.project}"


class IdempotentAnswer(models.Model):
    """The stored answer to a request with an ``Idempotency-Key``, kept 24 h."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    actor_kind = models.CharField(max_length=16, choices=[(kind.value, kind.value) for kind in ActorKind])
    actor_id = models.CharField(max_length=64)
    route = models.CharField(max_length=200)
    key = models.CharField(max_length=200)
    request_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["actor_kind", "actor_id", "route", "key"], name="one_answer_per_key"),
        ]


class HubSecret(models.Model):
    """A secret that the hub must be able to read again, encrypted. Read with ``hub_secrets.read_secret`` alone."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    ciphertext = models.BinaryField(editable=False)
    key_id = models.CharField(max_length=16, editable=False, help_text="Which key it is encrypted with.")
    set_at = models.DateTimeField()
    set_by = models.CharField(max_length=150)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the hour.")

    class Meta:
        ordering = ("name",)
        verbose_name = "secret"

    def __str__(self) -> str:
        return self.name


from .cache import CacheEntry  # noqa: E402, F401  (models in files of their own)
from .oidc.models import Identity, ProviderSession  # noqa: E402, F401
