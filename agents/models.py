"""Agents, runs, a run's events, approvals, blobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import ClassVar, Final, Self, TypeVar
from uuid import UUID

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from agenthub_site.accounts.actors import Actor, ActorKind
from agenthub_site.accounts.models import Project, Role, User
from agenthub_site.accounts.permissions import CAPABILITIES, Can
from nodes.contract.errors import WrongState
from nodes.contract.events import ArtifactReady
from nodes.contract.ids import new_id
from nodes.contract.limits import (
    APPROVAL_SECONDS,
    LOST_GRACE_SECONDS,
    NODE_GONE_SECONDS,
    STOP_AFTER_LEAST_SECONDS,
)
from nodes.contract.reasons import Reason
from nodes.models import Node

from .isolation import Level, Network, demanded_network, demanded_of
from .placement import Demand
from .states import ENDED, ON_NODE, State

M = TypeVar("M", bound=models.Model)
_BOUNDS: Final = [MinValueValidator(1), MaxValueValidator(7 * 86_400)]
"""Of how long an agent's question and its turn may take, in seconds."""


class VisibleQuerySet(models.QuerySet[M]):
    """What belongs to a project is seen by those who see the project."""

    def visible_to(self, actor: Actor) -> Self:
        return self if actor.sees_all else self.filter(project_id__in=actor.project_ids)


class Agent(models.Model):
    """A configured worker: a runtime, in a workspace, for a project.

    It is bound to one ``node``, or runs on any node of its ``pool`` that has its ``node_labels``. An external one is
    started by somebody else, somewhere else: it has a name, a token, and no runs.
    """

    class Runtime(models.TextChoices):
        ACP = "acp", "ACP agent"
        COMMAND = "command", "Command"
        EXTERNAL = "external", "Elsewhere: it comes by MCP"

    class WorkspaceMode(models.TextChoices):
        USE_EXISTING = "use_existing", "Use an existing directory"
        CREATE_WORKTREE = "create_worktree", "Create a worktree for each run"
        REUSE_WORKTREE = "reuse_worktree", "Reuse a worktree"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="agents")
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=400, blank=True)
    node = models.ForeignKey(Node, null=True, blank=True, on_delete=models.PROTECT, related_name="agents")
    pool = models.CharField(max_length=64, blank=True, default="")
    node_labels = models.JSONField(default=dict, blank=True)
    runtime = models.CharField(max_length=16, choices=Runtime.choices, default=Runtime.ACP)
    preset = models.CharField(max_length=32, blank=True)
    command = models.JSONField(default=list, blank=True)
    model = models.CharField(max_length=128, blank=True)
    environment = models.JSONField(default=dict, blank=True)
    workspace_mode = models.CharField(
        max_length=16, choices=WorkspaceMode.choices, default=WorkspaceMode.CREATE_WORKTREE
    )
    workdir = models.CharField(max_length=1024, blank=True)
    worktree_repo = models.CharField(max_length=1024, blank=True)
    worktree_ref = models.CharField(max_length=255, default="HEAD", blank=True)
    approval_seconds = models.FloatField(default=APPROVAL_SECONDS, validators=_BOUNDS)
    turn_seconds = models.FloatField(null=True, blank=True, validators=_BOUNDS)
    # What becomes of a run when its node is cut off: when it counts as lost, when its node stops it by itself, and
    # whether it is started anew if it ended because its node or its supervisor died.
    lost_after_seconds = models.IntegerField(
        default=LOST_GRACE_SECONDS, validators=[MinValueValidator(1), MaxValueValidator(NODE_GONE_SECONDS)]
    )
    stop_after_seconds = models.IntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(STOP_AFTER_LEAST_SECONDS), MaxValueValidator(NODE_GONE_SECONDS)],
    )
    resume = models.BooleanField(default=False)
    wake_on_mail = models.BooleanField(default=False, db_default=False)
    """Whether mail to it starts a run while it has none."""
    wakes_for = models.ForeignKey(
        User, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    """Who changed it last while it wakes: runs that mail starts are theirs. None: nobody's in particular."""
    mcp = models.BooleanField(default=False, db_default=False)
    """Whether its runs are given the hub's MCP server. Agents that speak ACP take it; others start it themselves."""
    isolation = models.CharField(max_length=16, choices=Level.choices, default=Level.NONE)
    network = models.CharField(max_length=16, choices=Network.choices, default=Network.SHARED)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar = VisibleQuerySet["Agent"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], condition=Q(archived_at=None), name="agent_names_are_unique_in_a_project"
            ),
            models.CheckConstraint(
                condition=~Q(runtime="external") & Q(node__isnull=False, pool="", node_labels={})
                | ~Q(runtime="external") & Q(node__isnull=True) & ~Q(pool="", node_labels={})
                | Q(runtime="external", node__isnull=True, pool="", node_labels={}),
                name="an_agent_has_a_node_or_says_which_fit",
            ),
        ]
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @property
    def is_external(self) -> bool:
        return self.runtime == self.Runtime.EXTERNAL

    @property
    def demand(self) -> Demand:
        """Where its runs may go. Asks for its project."""
        return replace(self._place, isolation=demanded_of(self))

    @property
    def demanded_isolation(self) -> str:
        """What its runs have at the least. Asks for its project."""
        return demanded_of(self)

    @property
    def demanded_network(self) -> str:
        """Whether its runs have the network. Asks for its project."""
        return demanded_network(self)

    @property
    def _place(self) -> Demand:
        if self.node_id is not None:
            return Demand(node=self.node_id)
        brings_its_own = self.runtime != self.Runtime.ACP or self.command
        return Demand(
            pool=self.pool, labels=frozenset(self.node_labels.items()), preset="" if brings_its_own else self.preset
        )

    @property
    def runs_on(self) -> str:
        """``node:gpu-01``, or ``any node of pool gpu with arch=arm64``; ``elsewhere`` for an external one."""
        if self.is_external:
            return "elsewhere"
        return f"node:{self.node.slug}" if self.node else f"any node {self._place}"


class Run(models.Model):
    """One execution of an agent, from start to a terminal state.

    A run of an agent that is bound to a node is that node's from the beginning; any other one has none until it is
    handed to one. From then on it never moves.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="runs")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="runs")
    node = models.ForeignKey(Node, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="runs")
    state = models.CharField(
        max_length=16, choices=[(state.value, state.value) for state in State], default=State.QUEUED
    )
    reason = models.CharField(
        max_length=32, choices=[(reason.value, reason.value) for reason in Reason], default=Reason.QUEUED, blank=True
    )
    message = models.CharField(max_length=500, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    signal = models.IntegerField(null=True, blank=True)
    entry = models.CharField(max_length=16, blank=True, default="", editable=False)
    """By which way whoever started it had come: see ``accounts.actors.Entry``."""
    prompt = models.TextField()
    keep_open = models.BooleanField(default=False)
    resumes = models.OneToOneField(
        "self", null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="resumed_by"
    )
    isolation = models.CharField(max_length=16, default="none")
    network = models.CharField(max_length=16, default="shared", db_default="shared")
    workspace = models.CharField(max_length=1024, blank=True)
    diff = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    placed_at = models.DateTimeField(null=True, blank=True, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    lost_at = models.DateTimeField(null=True, blank=True)
    # When the hub ended it without its node's word, and when the node's word undid that: once at most.
    presumed_at = models.DateTimeField(null=True, blank=True, editable=False)
    reopened_at = models.DateTimeField(null=True, blank=True, editable=False)

    # The stream: the last number given to readers, and how far the node's records are committed.
    last_seq = models.BigIntegerField(default=0)
    generation = models.PositiveIntegerField(default=1)
    acked_origin_seq = models.BigIntegerField(default=0)

    objects: ClassVar = VisibleQuerySet["Run"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["project", "-id"], name="runs_of_a_project"),
            models.Index(fields=["agent", "-id"], name="runs_of_an_agent"),
            models.Index(fields=["node", "-id"], name="runs_of_a_node"),
            models.Index(fields=["-id"], condition=Q(ended_at=None), name="live_runs"),
            models.Index(fields=["project", "-id"], condition=Q(ended_at=None), name="live_runs_of_a_project"),
            models.Index(fields=["node", "state"], condition=~Q(state__in=sorted(ENDED)), name="live_runs_of_a_node"),
            models.Index(fields=["node", "project", "state"], condition=Q(ended_at=None), name="live_runs_by_project"),
            models.Index(fields=["agent", "id"], condition=Q(state=State.QUEUED), name="queued_runs_of_an_agent"),
            models.Index(fields=["placed_at", "project"], condition=Q(placed_at__isnull=False), name="placed_runs"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in State]), name="run_state_is_known"),
            models.CheckConstraint(
                condition=Q(node__isnull=False) | ~Q(state__in=sorted(ON_NODE)), name="a_run_on_a_node_names_it"
            ),
        ]
        ordering = ("-id",)

    def __str__(self) -> str:
        return str(self.id)

    @property
    def placed_node_id(self) -> UUID:
        """The node that has it, or had it. ``WrongState`` while it has none."""
        if self.node_id is None:
            raise WrongState("The run was not handed to a node yet.", state=self.state)
        return self.node_id

    @property
    def runs_on(self) -> str:
        """``node:gpu-01``; before it has a node, which ones it may go to."""
        return f"node:{self.node.slug}" if self.node else self.agent.runs_on

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED

    @property
    def may_reopen(self) -> bool:
        """Whether evidence from its node undoes its ending: the hub presumed it, and was not wrong before."""
        return self.is_ended and self.presumed_at is not None and self.reopened_at is None

    @property
    def is_given_up(self) -> bool:
        """Whether the hub presumed its ending a second time: nothing that its node still has of it is taken."""
        return self.is_ended and self.presumed_at is not None and self.reopened_at is not None


class RunEvent(models.Model):
    """One event of a run's stream. Written in bulk by ``ingest`` and ``append_event``, never as objects."""

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events", db_index=False)
    seq = models.BigIntegerField()
    generation = models.PositiveIntegerField(default=0)
    origin_seq = models.BigIntegerField(null=True)
    type = models.CharField(max_length=48)
    version = models.PositiveSmallIntegerField(default=1)
    occurred_us = models.BigIntegerField()
    recorded_us = models.BigIntegerField()
    payload = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["run", "generation", "origin_seq"],
                condition=Q(origin_seq__isnull=False),
                name="a_record_is_stored_once",
            ),
        ]
        indexes = [
            models.Index(fields=["run", "seq"], condition=Q(type=ArtifactReady.TYPE), name="artifacts_of_a_run"),
        ]
        ordering = ("run", "seq")


class ApprovalQuerySet(VisibleQuerySet["Approval"]):
    """Questions before actions, and whom they are put to."""

    def waiting(self, now: datetime) -> Self:
        """Those that an answer still counts for."""
        return self.filter(state=Approval.State.PENDING, expires_at__gt=now)

    def offered_to(self, actor: Actor, now: datetime) -> Self:
        """Those that ``actor`` may answer at ``now``, whatever their state: the one rule, for lists and the service.

        The policy names roles, and perhaps a reviewing agent, which is asked before people: they are from
        ``people_at`` on. Owners need not wait for it; for root operators neither holds. No agent answers for itself.
        """
        if not actor.is_within_scope(Can.ANSWER_APPROVAL):
            return self.none()
        if actor.sees_all:
            return self
        if actor.kind is ActorKind.AGENT:
            mine = self.filter(project_id__in=actor.project_ids, offered_agent_id=actor.id)
            return mine.exclude(run__agent_id=actor.id)
        offered = Q(pk=None)
        for role in set(actor.roles.values()):
            if Can.ANSWER_APPROVAL not in CAPABILITIES.get(role, ()):
                continue
            here = Q(project_id__in=[project for project, held in actor.roles.items() if held == role])
            if role != Role.OWNER:
                here &= Q(people_at=None) | Q(people_at__lte=now)
            here &= Q(offered_roles="") | Q(offered_roles__contains=f" {role} ")
            offered |= here
        return self.filter(offered)


class Approval(models.Model):
    """A question before an action, and its one answer. *Decided* and *applied* are two facts.

    ``offered_roles`` has a space around each word (empty: every role that may answer); until ``people_at`` the
    question is with ``offered_agent`` alone.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        DECIDED = "decided"
        APPLIED = "applied"
        EXPIRED = "expired"
        SUPERSEDED = "superseded"
        HASH_MISMATCH = "hash_mismatch"

    id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="approvals")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="approvals")
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    kind = models.CharField(max_length=16)
    title = models.CharField(max_length=500)
    request = models.JSONField()
    action_hash = models.CharField(max_length=128)
    outcome = models.CharField(max_length=16, blank=True)
    option_id = models.CharField(max_length=200, blank=True)
    decided_by_kind = models.CharField(max_length=16, blank=True)
    decided_by_id = models.CharField(max_length=64, blank=True)
    decided_by_label = models.CharField(max_length=150, blank=True)
    offered_roles = models.CharField(max_length=100, blank=True, default="")
    offered_agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    people_at = models.DateTimeField(null=True, blank=True)
    review_told_at = models.DateTimeField(null=True, blank=True)
    """When the reviewing agent was told of it by mail."""
    requested_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar = ApprovalQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["project", "id"], condition=Q(state__in=["pending", "decided"]), name="open_approvals"
            ),
            models.Index(fields=["project", "-id"], name="approvals_of_a_project"),
            models.Index(fields=["run", "state"]),
            models.Index(fields=["expires_at"], condition=Q(state="pending"), name="approvals_that_expire"),
            models.Index(
                fields=["id"],
                condition=Q(state="pending", offered_agent__isnull=False, review_told_at=None),
                name="reviews_to_tell",
            ),
        ]
        ordering = ("id",)

    def __str__(self) -> str:
        return self.title

    @property
    def asks_roles(self) -> list[str]:
        """The roles that are asked; empty: all that may answer."""
        return self.offered_roles.split()

    @property
    def option(self) -> dict[str, str]:
        """The runtime's option that was chosen; empty if none was."""
        return next((each for each in self.request["options"] if each["option_id"] == self.option_id), {})


class Blob(models.Model):
    """Bytes that events refer to by digest: patches, artifacts. Kept per run, so that visibility is the run's."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="blobs")
    digest = models.CharField(max_length=64)
    size = models.BigIntegerField()
    data = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "digest"], name="a_blob_is_kept_once_per_run")]


from .rules import PolicyGrant, PolicyReview, PolicyRule  # noqa: E402, F401  (models in a file of their own)
