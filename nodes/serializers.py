"""The shapes of a node: what every member sees, what a root operator sees besides, and the registry's own."""

from collections.abc import Collection
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agenthub_site.accounts.rest import In

from .health import Level, NodeState, Status
from .models import Node

_STATUSES = [status.value for status in Status]
_STATES = [state.value for state in NodeState]
_STATE_HELP = "How it is, in one word: its `health`, unless it is revoked, disabled, draining or cordoned."
_HEALTH_HELP = "A revoked node is `unauthorized`, a disabled one `offline`, whatever is heard of it."


class RuntimeOut(serializers.Serializer[dict[str, object]]):
    preset = serializers.CharField()
    version = serializers.CharField(allow_blank=True)
    found = serializers.BooleanField()
    logged_in = serializers.BooleanField()


class _Judged(serializers.ModelSerializer[Node]):
    """With ``health`` in its context: the health of each node, by id."""

    state = serializers.SerializerMethodField(help_text=_STATE_HELP)
    health = serializers.SerializerMethodField(help_text=_HEALTH_HELP)

    @extend_schema_field(serializers.ChoiceField(choices=_STATES))
    def get_state(self, node: Node) -> str:
        return str(self.context["health"][node.pk].state)

    @extend_schema_field(serializers.ChoiceField(choices=_STATUSES))
    def get_health(self, node: Node) -> str:
        return str(self.context["health"][node.pk].status)


class NodeOut(_Judged):
    runtimes = RuntimeOut(many=True)

    class Meta:
        model = Node
        fields: tuple[str, ...] = ("id", "slug", "name", "state", "health", "runtimes")


class NodeDetailsOut(NodeOut):
    join_token_expires_at = serializers.SerializerMethodField(
        help_text="Until when the newest token with which it has not joined yet is good; null if there is none."
    )

    class Meta(NodeOut.Meta):
        fields = (
            *NodeOut.Meta.fields,
            "direction", "grpc_target", "tls_server_name", "default_worktree_root", "generation", "labels", "pool",
            "capacity", "is_cordoned", "is_draining", "version", "boot_id", "allowed_roots", "facts", "vitals",
            "connected_at", "last_heard_at", "created_at", "join_token_expires_at",
        )  # fmt: skip

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_join_token_expires_at(self, node: Node) -> str | None:
        unused = node.join_tokens.filter(used_at=None).order_by("-id").values_list("expires_at", flat=True).first()
        return unused.isoformat().replace("+00:00", "Z") if unused else None


class FigureOut(serializers.Serializer[Any]):
    value = serializers.FloatField(allow_null=True)
    level = serializers.ChoiceField(choices=[level.value for level in Level])


class HealthOut(serializers.Serializer[Any]):
    """``failure_rate`` is a share of 1, ``disk_pct`` what is used of the worktree root's disk."""

    state = serializers.ChoiceField(choices=_STATES, help_text=_STATE_HELP.replace("`health`", "`status`"))
    status = serializers.ChoiceField(choices=_STATUSES, help_text=_HEALTH_HELP)
    reason = serializers.CharField(help_text="In words.")
    checked_at = serializers.DateTimeField()
    heard_at = serializers.DateTimeField(allow_null=True, help_text="Until when the evidence goes.")
    latency_ms = FigureOut()
    failure_rate = FigureOut()
    agent_start_s = FigureOut()
    disk_pct = FigureOut()
    clock_skew_s = FigureOut(help_text="How far the node's clock is ahead of the hub's. Warning beyond 30 either way.")


class BootstrapOut(serializers.Serializer[Any]):
    enabled = serializers.BooleanField()
    grpc_listen_addr = serializers.CharField()
    security_mode = serializers.ChoiceField(choices=["tls", "mtls", "disabled"])
    cert_dir = serializers.CharField()
    issuer = serializers.CharField()
    audience = serializers.CharField()
    token_command = serializers.CharField(help_text="Prints the bootstrap token, on the hub's machine.")


class TriedOut(serializers.Serializer[Any]):
    is_reached = serializers.BooleanField()
    code = serializers.CharField(allow_blank=True, help_text="Why not; empty if it was reached.")
    message = serializers.CharField(source="text")
    milliseconds = serializers.FloatField(allow_null=True)


class RegisteredNodeOut(_Judged):
    id = serializers.CharField(source="slug")
    uuid = serializers.UUIDField(source="pk", help_text="As in /api/v1/nodes/{id}/.")
    grpc_target = serializers.SerializerMethodField(help_text="Null where the node dials the hub.")
    live_runs = serializers.SerializerMethodField(
        help_text="Runs that the node holds; those that wait for it are not among them."
    )
    projects = serializers.SerializerMethodField(
        help_text="Slugs of the projects to which a route lets it be used; null for the local node: all of them."
    )

    class Meta:
        model = Node
        fields = (
            "id", "uuid", "name", "direction", "is_joined", "grpc_target", "tls_server_name", "default_worktree_root",
            "labels", "pool", "capacity", "is_enabled", "is_cordoned", "is_draining", "live_runs", "state", "health",
            "projects", "version", "connected_at", "last_heard_at", "created_at",
        )  # fmt: skip

    @extend_schema_field(serializers.ListField(child=serializers.CharField(), allow_null=True))
    def get_projects(self, node: Node) -> list[str] | None:
        found: list[str] = self.context["projects"][node.pk]
        return None if node.is_local else found

    def get_grpc_target(self, node: Node) -> str | None:
        return node.grpc_target or None

    def get_live_runs(self, node: Node) -> int:
        live: int = self.context["live_runs"].get(node.pk, 0)
        return live


class NodeIn(In):
    """A registered node's settings. What fits together is the service's to say.

    What was read can be sent back whole: names of ``RegisteredNodeOut`` that are not here change nothing.
    """

    known: ClassVar[Collection[str]] = RegisteredNodeOut.Meta.fields

    id = serializers.CharField(max_length=128, required=False)
    name = serializers.CharField(max_length=128)
    direction = serializers.ChoiceField(choices=Node.Direction.choices, required=False)
    grpc_target = serializers.CharField(max_length=255, allow_blank=True, allow_null=True, required=False)
    tls_server_name = serializers.CharField(max_length=255, allow_blank=True, allow_null=True, required=False)
    default_worktree_root = serializers.CharField(max_length=1_024, allow_blank=True, allow_null=True, required=False)
    labels = serializers.DictField(child=serializers.CharField(max_length=256, allow_blank=True), required=False)
    pool = serializers.CharField(max_length=64, allow_blank=True, required=False)
    capacity = serializers.IntegerField(min_value=0, max_value=100_000, required=False)
    is_enabled = serializers.BooleanField(required=False)
    is_cordoned = serializers.BooleanField(required=False)
    is_draining = serializers.BooleanField(required=False)
    allow_projects = serializers.ListField(
        child=serializers.SlugField(max_length=64), max_length=100, required=False,
        help_text="Slugs of projects whose runs may use the node: each gets a route that it has not yet.",
    )  # fmt: skip

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        """Null is what the database has as an empty text."""
        return {name: "" if value is None else value for name, value in given.items()}


class NewNodeIn(NodeIn):
    known = ()
    id = serializers.CharField(max_length=128)
