"""Shapes of agents, runs and approvals: what goes in and what comes out."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agenthub_site.accounts.permissions import Can, may
from agenthub_site.accounts.rest import In
from nodes.contract.limits import NODE_GONE_SECONDS, STOP_AFTER_LEAST_SECONDS

from .isolation import Level, Network
from .models import Agent, Approval, Run
from .queries import waiting_for
from .services.approvals import MOST_AT_ONCE
from .states import State

MASK = "•••"


class AgentIn(In):
    """An agent's settings. What fits together is the service's to say."""

    name = serializers.CharField(max_length=64)
    node = serializers.CharField(
        max_length=128, required=False, allow_null=True, help_text="A node's slug or id; or null, and which nodes fit:"
    )
    pool = serializers.CharField(
        max_length=64, allow_blank=True, required=False, help_text="Any node of this pool that has the labels."
    )
    node_labels = serializers.DictField(
        child=serializers.CharField(max_length=256, allow_blank=True),
        required=False,
        help_text="Labels that a node must have.",
    )
    description = serializers.CharField(max_length=400, allow_blank=True, required=False)
    runtime = serializers.ChoiceField(choices=Agent.Runtime.choices, required=False)
    preset = serializers.CharField(max_length=32, allow_blank=True, required=False)
    command = serializers.ListField(child=serializers.CharField(max_length=4_096), max_length=64, required=False)
    model = serializers.CharField(max_length=128, allow_blank=True, required=False)
    environment = serializers.DictField(
        child=serializers.CharField(max_length=8_192, allow_blank=True, trim_whitespace=False), required=False
    )
    workspace_mode = serializers.ChoiceField(choices=Agent.WorkspaceMode.choices, required=False)
    workdir = serializers.CharField(max_length=1_024, allow_blank=True, required=False)
    worktree_repo = serializers.CharField(max_length=1_024, allow_blank=True, required=False)
    worktree_ref = serializers.CharField(max_length=255, allow_blank=True, required=False)
    approval_seconds = serializers.FloatField(min_value=1, max_value=7 * 86_400, required=False)
    turn_seconds = serializers.FloatField(min_value=1, max_value=7 * 86_400, required=False, allow_null=True)
    lost_after_seconds = serializers.IntegerField(
        min_value=1,
        max_value=NODE_GONE_SECONDS,
        required=False,
        help_text="Runs count as lost when their node has been silent for this long.",
    )
    stop_after_seconds = serializers.IntegerField(
        min_value=STOP_AFTER_LEAST_SECONDS,
        max_value=NODE_GONE_SECONDS,
        required=False,
        allow_null=True,
        help_text="A node that is without its hub for this long stops the run; null: it goes on.",
    )
    resume = serializers.BooleanField(
        required=False, help_text="Start a run anew, once, if it ended because its node or its supervisor died."
    )
    wake_on_mail = serializers.BooleanField(
        required=False, help_text="Mail to the agent starts a run while it has none."
    )
    mcp = serializers.BooleanField(
        required=False, help_text="Its runs are given the hub's MCP server, if the runtime is acp."
    )
    isolation = serializers.ChoiceField(
        choices=Level.choices, required=False, help_text="At the least; its project or the hub may demand more."
    )
    network = serializers.ChoiceField(choices=Network.choices, required=False, help_text="None masks it as well.")

    def validate_environment(self, environment: dict[str, str]) -> dict[str, str]:
        if len(environment) > 100:
            raise serializers.ValidationError("At most 100 variables.")
        return environment


class ImportedAgentIn(In):
    name = serializers.CharField(max_length=64)
    token = serializers.CharField(max_length=256, trim_whitespace=False, write_only=True)


class ImportAgentsIn(In):
    project = serializers.CharField(max_length=64, help_text="A project's slug or id.")
    agents = ImportedAgentIn(many=True)


class RevokeUnlistedIn(ImportAgentsIn):
    agents = ImportedAgentIn(many=True, allow_empty=True, help_text="All of the file. Empty: every token is revoked.")


class RevokedAgentsOut(serializers.Serializer[Any]):
    revoked = serializers.ListField(child=serializers.CharField(), help_text="Names of agents, by the alphabet.")


class ImportedAgentOut(serializers.Serializer[Any]):
    agent = serializers.UUIDField(source="agent.pk")
    name = serializers.CharField(source="agent.name")
    is_new = serializers.BooleanField()
    token = serializers.CharField(help_text="new, replaced, renewed or unchanged.")


class NewAgentIn(AgentIn):
    project = serializers.CharField(max_length=64, help_text="A project's slug or id.")


class AgentOut(serializers.ModelSerializer[Agent]):
    project = serializers.UUIDField(source="project_id")
    project_slug = serializers.CharField(source="project.slug")
    node = serializers.UUIDField(source="node_id", allow_null=True, help_text="Null: any node that fits.")
    node_slug = serializers.CharField(source="node.slug", default=None, allow_null=True)
    node_labels = serializers.DictField(child=serializers.CharField())
    runs_on = serializers.CharField(help_text="In words: node:gpu-01, or any node of pool gpu with arch=arm64.")
    command = serializers.ListField(child=serializers.CharField())
    environment = serializers.SerializerMethodField()
    demanded_isolation = serializers.CharField(
        help_text="What its runs have at the least: none, masked or user, by itself, its project or the hub."
    )
    demanded_network = serializers.CharField(
        help_text="What its runs have: shared or none, by itself, its project or the hub."
    )

    class Meta:
        model = Agent
        fields = (
            "id", "name", "description", "project", "project_slug", "node", "node_slug", "pool", "node_labels",
            "runs_on", "runtime", "preset", "command", "model", "environment", "workspace_mode", "workdir",
            "worktree_repo", "worktree_ref", "approval_seconds", "turn_seconds", "lost_after_seconds",
            "stop_after_seconds", "resume", "wake_on_mail", "mcp", "isolation", "network",
            "demanded_isolation", "demanded_network", "created_at", "updated_at", "archived_at",
        )  # fmt: skip

    def get_environment(self, agent: Agent) -> dict[str, str]:
        """Values only for those who may edit the agent: people put secrets there."""
        if may(self.context["view"].actor, Can.EDIT_AGENT, agent.project_id):
            return agent.environment  # type: ignore[no-any-return]
        return dict.fromkeys(agent.environment, MASK)


class StartRunIn(In):
    agent = serializers.CharField(
        max_length=200, help_text="An agent's id, project/name, or its name if that is unique."
    )
    prompt = serializers.CharField(
        default="", allow_blank=True, trim_whitespace=False, help_text="Needed, unless a run is resumed: then its own."
    )
    keep_open = serializers.BooleanField(default=False, help_text="Wait for more input at the end of a turn.")
    resumes = serializers.UUIDField(
        default=None,
        allow_null=True,
        help_text="An ended run of the agent, to go on in its session and worktree where its node and runtime can.",
    )


class DiffSummaryOut(serializers.Serializer[Any]):
    files_changed = serializers.IntegerField()
    additions = serializers.IntegerField()
    deletions = serializers.IntegerField()


class RunRowOut(serializers.ModelSerializer[Run]):
    """A run as lists have it: the beginning of its prompt only."""

    project = serializers.UUIDField(source="project_id")
    project_slug = serializers.CharField(source="project.slug")
    agent = serializers.UUIDField(source="agent_id")
    agent_name = serializers.CharField(source="agent.name")
    node = serializers.UUIDField(source="node_id", allow_null=True, help_text="Null until it is handed to one.")
    node_slug = serializers.CharField(source="node.slug", default=None, allow_null=True)
    runs_on = serializers.CharField(help_text="In words: node:gpu-01, or before it has one: any node of pool gpu.")
    user = serializers.CharField(source="user.username", default=None, allow_null=True)
    state = serializers.ChoiceField(choices=[state.value for state in State])
    resumes = serializers.UUIDField(
        source="resumes_id", allow_null=True, help_text="The run that this one goes on from."
    )
    waiting_for = serializers.SerializerMethodField(help_text="In words; empty while it works, and at the end.")
    diff = serializers.SerializerMethodField()
    prompt_excerpt = serializers.CharField()

    class Meta:
        model = Run
        fields: tuple[str, ...] = (
            "id", "project", "project_slug", "agent", "agent_name", "node", "node_slug", "runs_on", "user", "state",
            "reason", "message", "waiting_for", "exit_code", "signal", "prompt_excerpt", "keep_open", "resumes",
            "isolation", "network", "workspace", "last_seq", "diff", "created_at", "placed_at", "started_at",
            "ended_at",
        )  # fmt: skip

    def get_waiting_for(self, run: Run) -> str:
        return waiting_for(run)

    @extend_schema_field(DiffSummaryOut(allow_null=True))
    def get_diff(self, run: Any) -> dict[str, int] | None:
        if run.files_changed is None:
            return None
        return {"files_changed": run.files_changed, "additions": run.additions, "deletions": run.deletions}


class RunOut(RunRowOut):
    prompt = serializers.CharField()

    class Meta(RunRowOut.Meta):
        fields = (*RunRowOut.Meta.fields, "prompt")


class InputIn(In):
    text = serializers.CharField(trim_whitespace=False)
    input_id = serializers.RegexField(
        r"\A[\w.\-]{1,64}\Z", required=False, help_text="Yours; the same id twice is one input."
    )
    mode = serializers.ChoiceField(choices=["queue", "interrupt"], default="queue")


class InputOut(serializers.Serializer[Any]):
    input_id = serializers.CharField()


class BlankIn(In):
    """A verb that takes nothing."""


class FileChangeOut(serializers.Serializer[Any]):
    path = serializers.CharField()
    status = serializers.CharField()
    old_path = serializers.CharField(allow_blank=True)
    additions = serializers.IntegerField()
    deletions = serializers.IntegerField()
    binary = serializers.BooleanField()


class DiffOut(serializers.Serializer[Any]):
    state = serializers.ChoiceField(
        choices=["none", "pending", "ready"], help_text="pending: the patch is still on its way from the node."
    )
    base_commit = serializers.CharField(allow_blank=True)
    head_commit = serializers.CharField(allow_blank=True, default="")
    files = FileChangeOut(many=True)
    files_changed = serializers.IntegerField(default=0)
    additions = serializers.IntegerField()
    deletions = serializers.IntegerField()
    truncated = serializers.BooleanField(default=False)
    patch = serializers.CharField(allow_blank=True)


class ArtifactOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    media_type = serializers.CharField(help_text="As the run says; it is served as plain bytes, to be saved.")
    digest = serializers.CharField(help_text="SHA-256, in hex; what to ask for.")
    size = serializers.IntegerField(help_text="Bytes.")
    state = serializers.ChoiceField(choices=["pending", "ready"], help_text="pending: still on its way from the node.")


class ArtifactsOut(serializers.Serializer[Any]):
    """All on one page."""

    results = ArtifactOut(many=True)
    next = serializers.CharField(default=None, allow_null=True)
    previous = serializers.CharField(default=None, allow_null=True)


class DecideIn(In):
    """One of the two."""

    option_id = serializers.CharField(max_length=200, required=False)
    outcome = serializers.ChoiceField(choices=["cancelled"], required=False)


class DecideManyIn(In):
    """One kind of answer for many questions: each gets its own option of that kind, never a lasting one."""

    approvals = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=MOST_AT_ONCE)
    answer = serializers.ChoiceField(choices=["allow_once", "reject"])


class DecidedOut(serializers.Serializer[Any]):
    """What became of one answer: ``status`` is what it would have had by itself."""

    approval = serializers.UUIDField()
    status = serializers.IntegerField(help_text="As of HTTP: 200, 403, 404, 409 …")
    state = serializers.CharField(allow_null=True)
    option_id = serializers.CharField(allow_null=True)
    error = serializers.JSONField(allow_null=True, help_text="code, message and data of the refusal.")


class DecidedManyOut(serializers.Serializer[Any]):
    """In the order asked for."""

    results = DecidedOut(many=True)
    decided = serializers.IntegerField()
    refused = serializers.IntegerField()


class OfferedOut(serializers.Serializer[Any]):
    roles = serializers.ListField(child=serializers.CharField(), help_text="Empty: every role that may answer.")
    agent = serializers.UUIDField(allow_null=True, help_text="The agent that is asked first.")
    agent_name = serializers.CharField(allow_null=True)
    people_at = serializers.DateTimeField(allow_null=True, help_text="From when on people are asked; null: at once.")


class OptionOut(serializers.Serializer[Any]):
    option_id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=["allow_once", "allow_always", "reject_once", "reject_always"])


class ActorOut(serializers.Serializer[Any]):
    kind = serializers.CharField()
    id = serializers.CharField()
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment]


class ApprovalRowOut(serializers.ModelSerializer[Approval]):
    """An approval as lists have it: without the content of the change it asks about.

    *Decided* (``decided_at``, ``decided_by``) and *applied* (``state`` applied, ``resolved_at``) are two facts.
    """

    project = serializers.UUIDField(source="project_id")
    project_slug = serializers.CharField(source="project.slug")
    run = serializers.UUIDField(source="run_id")
    agent = serializers.UUIDField(source="run.agent_id")
    agent_name = serializers.CharField(source="run.agent.name")
    node_slug = serializers.CharField(source="run.node.slug", default=None, allow_null=True)
    asked_for = serializers.CharField(
        source="run.user.username", default=None, allow_null=True, help_text="Who started the run."
    )
    offered = serializers.SerializerMethodField()
    may_answer = serializers.SerializerMethodField(help_text="Whether an answer of yours would be taken now.")
    seconds_left = serializers.SerializerMethodField(help_text="By the hub's clock; 0 where no answer counts any more.")
    options = OptionOut(many=True, source="request.options")
    command = serializers.CharField(source="request.command", default="")
    paths = serializers.ListField(child=serializers.CharField(), source="request.paths", default=list)
    tool_call_id = serializers.CharField(source="request.tool_call_id", default="")
    decided_by = serializers.SerializerMethodField()

    class Meta:
        model = Approval
        fields: tuple[str, ...] = (
            "id", "project", "project_slug", "run", "agent", "agent_name", "node_slug", "asked_for", "state", "kind",
            "title", "command", "paths", "tool_call_id", "options", "offered", "may_answer", "seconds_left", "outcome",
            "option_id", "decided_by", "requested_at", "expires_at", "decided_at", "resolved_at", "action_hash",
        )  # fmt: skip

    @extend_schema_field(OfferedOut)
    def get_offered(self, approval: Approval) -> dict[str, Any]:
        agent = approval.offered_agent
        return OfferedOut({
            "roles": approval.asks_roles, "agent": agent.pk if agent else None,
            "agent_name": agent.name if agent else None, "people_at": approval.people_at,
        }).data  # fmt: skip

    def get_may_answer(self, approval: Any) -> bool:
        return bool(approval.is_offered and self._seconds_left(approval) > 0)

    def get_seconds_left(self, approval: Approval) -> float:
        return round(self._seconds_left(approval), 1)

    def _seconds_left(self, approval: Approval) -> float:
        if approval.state != Approval.State.PENDING:
            return 0.0
        return max(0.0, (approval.expires_at - timezone.now()).total_seconds())

    @extend_schema_field(ActorOut(allow_null=True))
    def get_decided_by(self, approval: Approval) -> dict[str, str] | None:
        if not approval.decided_by_kind:
            return None
        return {
            "kind": approval.decided_by_kind, "id": approval.decided_by_id, "label": approval.decided_by_label,
        }  # fmt: skip


class ContentOut(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=["text", "diff", "terminal", "other"])
    text = serializers.CharField(allow_blank=True)
    path = serializers.CharField(allow_blank=True)
    old_text = serializers.CharField(allow_null=True)
    new_text = serializers.CharField(allow_null=True)


class ApprovalOut(ApprovalRowOut):
    content = ContentOut(many=True, source="request.content", default=list)

    class Meta(ApprovalRowOut.Meta):
        fields = (*ApprovalRowOut.Meta.fields, "content")
