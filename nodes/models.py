"""Nodes, the lease on each one's link, and the outbox of commands to them."""

from datetime import datetime, timedelta
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project, Role, User
from nodes.contract.ids import new_id
from nodes.contract.limits import SILENT_SECONDS

from .health import NodeState


class Node(models.Model):
    """A machine that executes runs. Certificates bind to ``id`` and ``generation``; people use the slug.

    A cordoned one takes no new run, and those it has go on; a draining one is cordoned and meant to become empty.
    A joined one has a certificate of the hub's own authority; of another that the hub dials, the configuration
    says how to know it. A removed one is kept, out of sight, for the runs it had: its slug is free again.
    """

    LOCAL = "local"

    class Direction(models.TextChoices):
        DIAL = "dial", "the hub dials"
        TUNNEL = "tunnel", "the node dials"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    slug = models.CharField(max_length=128, unique=True)
    name = models.CharField(max_length=128)
    direction = models.CharField(max_length=8, choices=Direction.choices, default=Direction.DIAL)
    grpc_target = models.CharField(max_length=255, blank=True)
    tls_server_name = models.CharField(max_length=255, blank=True)
    default_worktree_root = models.CharField(max_length=1024, blank=True)
    generation = models.PositiveIntegerField(default=1)
    is_joined = models.BooleanField(default=False, editable=False)
    labels = models.JSONField(default=dict, blank=True)
    pool = models.CharField(max_length=64, blank=True, default="")
    capacity = models.PositiveIntegerField(default=100)
    is_enabled = models.BooleanField(default=True)
    is_cordoned = models.BooleanField(default=False)
    is_draining = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    # What the node last said of itself.
    connected_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_heard_at = models.DateTimeField(null=True, blank=True, editable=False)
    version = models.CharField(max_length=64, blank=True, editable=False)
    boot_id = models.CharField(max_length=64, blank=True, editable=False)
    runtimes = models.JSONField(default=list, blank=True, editable=False)
    allowed_roots = models.JSONField(default=list, blank=True, editable=False)
    facts = models.JSONField(default=dict, blank=True, editable=False)
    duplicate_at = models.DateTimeField(null=True, blank=True, editable=False)
    """When another machine was last refused that came with this node's certificate while the node was linked."""
    vitals = models.JSONField(default=dict, blank=True, editable=False)
    # What the hub itself measured of it, and its last trouble with it: see ``nodes.measured``.
    measured = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug

    @property
    def is_local(self) -> bool:
        return self.slug == self.LOCAL

    @property
    def decided(self) -> NodeState | None:
        """What operators decided of it; None if it may work."""
        if self.revoked_at:
            return NodeState.REVOKED
        if not self.is_enabled:
            return NodeState.DISABLED
        if self.is_cordoned:
            return NodeState.DRAINING if self.is_draining else NodeState.CORDONED
        return None

    def is_silent(self, now: datetime) -> bool:
        """Unheard for longer than ``SILENT_SECONDS``, so that what is known of its runs may be old.

        Whether it gets work, and how it is, ``nodes.evidence`` says.

        What was heard in the future, by a clock of the hub's that went back since, shows nothing of now either.
        """
        return self.last_heard_at is None or abs(now - self.last_heard_at) > timedelta(seconds=SILENT_SECONDS)


class RouteQuerySet(models.QuerySet["Route"]):
    def visible_to(self, actor: Actor) -> Self:
        """Those of the projects that one sees."""
        return self if actor.sees_all else self.filter(project_id__in=actor.project_ids)


class Route(models.Model):
    """Lets the runs of a project go to a node, or to those of a pool that have its labels.

    For everybody who may start runs, or from a role upwards, or for one person; by the ``entries``, or by all if
    there are none. Without any, a project has the local node alone.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="routes")
    node = models.ForeignKey(Node, null=True, blank=True, on_delete=models.CASCADE, related_name="routes")
    pool = models.CharField(max_length=64, blank=True, default="")
    labels = models.JSONField(default=dict, blank=True)
    entries = models.JSONField(default=list, blank=True)
    least_role = models.CharField(max_length=16, blank=True, default="", choices=Role.choices)
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="routes")
    is_enabled = models.BooleanField(default=True)
    note = models.CharField(max_length=400, blank=True)
    created_by = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar = RouteQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(node__isnull=False, pool="", labels={}) | Q(node__isnull=True) & ~Q(pool="", labels={}),
                name="a_route_has_a_node_or_says_which_fit",
            ),
            models.CheckConstraint(
                condition=Q(user__isnull=True) | Q(least_role=""), name="a_route_has_a_person_or_a_role"
            ),
        ]
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.project} to {self.leads_to}"

    @property
    def leads_to(self) -> str:
        """``node:gpu-01``, or ``nodes of pool gpu with arch=arm64``."""
        if self.node:
            return f"node:{self.node.slug}"
        labels = " and ".join(f"{name}={self.labels[name]}" for name in sorted(self.labels))
        return " ".join(
            part for part in ("nodes", self.pool and f"of pool {self.pool}", labels and f"with {labels}") if part
        )

    @property
    def is_for(self) -> str:
        """``everybody``, ``developer and above``, or a person's name."""
        if self.user:
            return self.user.username
        return f"{self.least_role} and above" if self.least_role else "everybody"


class LinkLease(models.Model):
    """Which process owns a node's link, and in which epoch. Times are the database's."""

    node = models.OneToOneField(Node, primary_key=True, on_delete=models.CASCADE, related_name="lease")
    owner = models.CharField(max_length=64, blank=True)
    epoch = models.BigIntegerField(default=0)
    instance = models.CharField(max_length=64, blank=True, default="")
    """The node server's process at the other end, where it dials and says so."""
    expires_at = models.DateTimeField(null=True, blank=True)


class Command(models.Model):
    """An outbox row, written with the decision it carries; sent until the node answers.

    ``number`` is its place among its run's commands. ``key`` (with ``digest``, of what came under it) makes a
    repeat the same command. ``body`` may hold prompts and secrets, and is emptied once nobody waits for an answer.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        ACCEPTED = "accepted"
        REJECTED = "rejected"
        WITHDRAWN = "withdrawn"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="commands")
    run = models.UUIDField()
    number = models.PositiveIntegerField(default=0, editable=False)
    kind = models.CharField(max_length=32)
    key = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    body = models.TextField(blank=True)
    not_after = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    first_sent_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    code = models.CharField(max_length=64, blank=True)
    message = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["node", "id"], condition=Q(state="pending"), name="commands_to_send"),
            models.Index(fields=["run"]),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["run", "number"], condition=Q(number__gt=0), name="a_runs_commands_have_an_order"
            ),
            models.UniqueConstraint(
                fields=["run", "kind", "key"], condition=~Q(key=""), name="a_repeat_is_the_same_command"
            ),
        ]
        ordering = ("id",)


class JoinToken(models.Model):
    """Makes one machine a node, once.

    ``key`` is derived from the token's secret (``nodes.link.joining``), which the hub does not keep: it checks the
    proof in a request with the key, and empties it when the token is used, or another one of the node.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="join_tokens")
    key = models.BinaryField(max_length=32, editable=False)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.node.slug} {self.id}"
