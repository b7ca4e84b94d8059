"""The approval policy's rows: ordered rules, standing answers, and who answers what is asked.

Each stands on a level: the instance (neither project nor agent), a project, or an agent of it.
"""

from __future__ import annotations

from typing import ClassVar, Final, Self, TypeVar
from uuid import UUID

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q, UUIDField, Value
from django.db.models.functions import Coalesce

from agenthub_site.accounts.actors import Actor, ActorKind
from agenthub_site.accounts.models import Project
from nodes.contract.ids import new_id
from nodes.contract.policy import PATTERN_CHARS, ActionKind, Verdict

M = TypeVar("M", bound=models.Model)
_LONGEST: Final = 7 * 86_400
_NOWHERE: Final = Value(UUID(int=0), output_field=UUIDField())
_KINDS: Final = [(kind.value, kind.value) for kind in ActionKind]


class OnLevelQuerySet(models.QuerySet[M]):
    """The instance's are people's to see, since they bind everybody; the rest is seen with its project.

    Agents see none: what they may do they are told when they ask, and where the gaps are is not theirs to look for.
    """

    def visible_to(self, actor: Actor) -> Self:
        if actor.kind is ActorKind.AGENT:
            return self.none()
        return self if actor.sees_all else self.filter(Q(project=None) | Q(project_id__in=actor.project_ids))


class OnLevel(models.Model):
    """What stands on a level."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey("agents.Agent", null=True, blank=True, on_delete=models.CASCADE, related_name="+")

    class Meta:
        abstract = True

    @property
    def level(self) -> str:
        """``instance``, ``project`` or ``agent``."""
        return "agent" if self.agent_id else "project" if self.project_id else "instance"


class Matching(models.Model):
    """What a rule or a grant is about. All that is given must match."""

    kind = models.CharField(max_length=16, blank=True, choices=_KINDS)
    tool = models.CharField(max_length=PATTERN_CHARS, blank=True)
    path = models.CharField(max_length=PATTERN_CHARS, blank=True)
    command = models.CharField(max_length=PATTERN_CHARS, blank=True)
    host = models.CharField(max_length=PATTERN_CHARS, blank=True)
    note = models.CharField(max_length=PATTERN_CHARS, blank=True)
    author_kind = models.CharField(max_length=16, editable=False)
    author_id = models.CharField(max_length=64, editable=False)
    author_label = models.CharField(max_length=150, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True

    @property
    def about(self) -> str:
        """What it matches, in words: ``shell · command git push*``."""
        named = (("tool", self.tool), ("path", self.path), ("command", self.command), ("host", self.host))
        return " · ".join([*([self.kind] if self.kind else []), *(f"{name} {text}" for name, text in named if text)])


class PolicyRule(OnLevel, Matching):
    """One line of a level: the first that matches counts. ``position`` is its place there, from 0."""

    position = models.PositiveIntegerField()
    verdict = models.CharField(max_length=8, choices=[(verdict.value, verdict.value) for verdict in Verdict])
    is_strict = models.BooleanField("ask each time", default=False)
    is_enabled = models.BooleanField("enabled", default=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar = OnLevelQuerySet["PolicyRule"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(agent=None) | Q(project__isnull=False), name="a_rule_of_an_agent_has_its_project"
            ),
            models.CheckConstraint(condition=Q(verdict__in=[v.value for v in Verdict]), name="rule_verdict_is_known"),
        ]
        ordering = ("position", "id")

    def __str__(self) -> str:
        return f"{self.verdict} {self.about or 'everything'}"


class PolicyGrant(OnLevel, Matching):
    """A standing answer ("always allow this"): what is asked and matches is allowed, until it expires."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    approval = models.ForeignKey(
        "agents.Approval", null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="grants"
    )
    expires_at = models.DateTimeField(db_index=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar = OnLevelQuerySet["PolicyGrant"].as_manager()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"always allow {self.about}"


class PolicyReview(OnLevel):
    """Who answers what a level's runs ask, and how long that may take."""

    roles = models.JSONField(default=list, blank=True)
    reviewer = models.ForeignKey(
        "agents.Agent", null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="An agent of the project that answers first.",
    )  # fmt: skip
    people_after_seconds = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(_LONGEST)]
    )
    expires_seconds = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(_LONGEST)]
    )
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar = OnLevelQuerySet["PolicyReview"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(agent=None) | Q(project__isnull=False), name="a_review_of_an_agent_has_its_project"
            ),
            models.UniqueConstraint(
                fields=["agent"], condition=Q(agent__isnull=False), name="an_agent_has_one_review_policy"
            ),
            models.UniqueConstraint(
                Coalesce("project", _NOWHERE), condition=Q(agent=None), name="a_project_has_one_review_policy"
            ),
        ]

    def __str__(self) -> str:
        return f"review on the level {self.level}"
