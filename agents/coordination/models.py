"""Tasks, rounds, assignments, handoffs, reviews, locks, and a project's limits on them."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from agenthub_site.accounts.models import Project
from nodes.contract.ids import new_id

from ..models import Agent, VisibleQuerySet
from .states import ROUND_ENDED, AssignmentState, RoundState, TaskState


def _choices(states: type[StrEnum]) -> list[tuple[str, str]]:
    return [(state.value, state.value) for state in states]


class Task(models.Model):
    """A piece of work, planned by its dispatcher in rounds. ``key`` is the id that its creator chose."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="tasks")
    key = models.CharField(max_length=128)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    state = models.CharField(max_length=32, choices=_choices(TaskState), default=TaskState.DRAFT)
    dispatcher = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="tasks")
    message_count = models.PositiveIntegerField(default=0, editable=False)
    created_by = models.CharField(max_length=150, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar = VisibleQuerySet["Task"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "key"], name="task_keys_are_unique_in_a_project"),
            models.CheckConstraint(condition=Q(state__in=list(TaskState)), name="task_state_is_known"),
        ]
        indexes = [models.Index(fields=["project", "state", "-id"], name="tasks_of_a_project")]
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.key


class Round(models.Model):
    """One plan of a task, what an operator said to it, and how far it is."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="rounds")
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="rounds")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=32, choices=_choices(RoundState), default=RoundState.AWAITING_OPERATOR_APPROVAL)
    operator_note = models.TextField(blank=True, editable=False)
    decided_by = models.CharField(max_length=150, blank=True, editable=False)
    decided_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_repeat = models.BooleanField(db_default=False, default=False, editable=False)
    """It opened by itself, with the goals of the one before it."""
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar = VisibleQuerySet["Round"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "number"], name="rounds_of_a_task_are_numbered"),
            models.UniqueConstraint(
                fields=["task"], condition=~Q(state__in=sorted(ROUND_ENDED)), name="a_task_has_one_open_round"
            ),
            models.CheckConstraint(condition=Q(state__in=list(RoundState)), name="round_state_is_known"),
        ]
        indexes = [models.Index(fields=["project", "state", "-id"], name="rounds_of_a_project")]
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"round {self.number} of {self.task.key}"


class Assignment(models.Model):
    """A goal for one agent; with ``is_for_anyone`` for whichever agent of the project claims it first.

    Whoever has it has it until ``lease_expires_at``, which every progress report puts off.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="assignments")
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="assignments")
    round = models.ForeignKey(Round, on_delete=models.CASCADE, related_name="assignments")
    agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.PROTECT, related_name="assignments")
    is_for_anyone = models.BooleanField(default=False, editable=False)
    position = models.PositiveSmallIntegerField(default=0, editable=False)
    goal = models.TextField()
    state = models.CharField(max_length=32, choices=_choices(AssignmentState), default=AssignmentState.PENDING)
    claimed_at = models.DateTimeField(null=True, blank=True, editable=False)
    started_at = models.DateTimeField(null=True, blank=True, editable=False)
    completed_at = models.DateTimeField(null=True, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    expiries = models.PositiveIntegerField(default=0, editable=False)
    """How often its lease ran out."""
    former = models.ForeignKey(Agent, null=True, blank=True, editable=False, on_delete=models.PROTECT, related_name="+")
    """Whose lease ran out last."""
    progress_note = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar = VisibleQuerySet["Assignment"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(agent__isnull=False) | Q(is_for_anyone=True), name="an_assignment_is_for_somebody"
            ),
            models.CheckConstraint(condition=Q(state__in=list(AssignmentState)), name="assignment_state_is_known"),
            models.CheckConstraint(
                condition=~Q(state__in=["claimed", "in_progress"])
                | Q(agent__isnull=False, lease_expires_at__isnull=False),
                name="who_holds_an_assignment_has_a_lease",
            ),
        ]
        indexes = [
            models.Index(fields=["agent", "state"], name="assignments_of_an_agent"),
            models.Index(fields=["round", "state"], name="assignments_of_a_round"),
            models.Index(
                fields=["lease_expires_at"],
                condition=Q(state__in=["claimed", "in_progress"]),
                name="leases_of_assignments",
            ),
        ]
        ordering = ("round", "position")

    def __str__(self) -> str:
        return self.goal[:60]


class Handoff(models.Model):
    """What its worker hands over with a completed assignment."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="handoffs")
    assignment = models.OneToOneField(Assignment, on_delete=models.CASCADE, related_name="handoff")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="handoffs")
    branch = models.CharField(max_length=255, blank=True)
    commit_hash = models.CharField(max_length=64, blank=True)
    changed_files = models.JSONField(default=list, blank=True)
    tests_run = models.JSONField(default=list, blank=True)
    risks = models.TextField(blank=True)
    next_steps = models.TextField(blank=True)
    notes = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar = VisibleQuerySet["Handoff"].as_manager()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"handoff {self.id}"


class Review(models.Model):
    """The dispatcher's verdict on a round whose assignments are all completed."""

    class Verdict(models.TextChoices):
        APPROVED = "approved"
        CHANGES_REQUESTED = "changes_requested"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="reviews")
    round = models.OneToOneField(Round, on_delete=models.CASCADE, related_name="review")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="reviews")
    verdict = models.CharField(max_length=32, choices=Verdict.choices)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar = VisibleQuerySet["Review"].as_manager()

    class Meta:
        ordering = ("-id",)


class Lock(models.Model):
    """A lease on something shared. ``fencing_number`` only grows, also over the rows of free locks that are removed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="locks")
    key = models.CharField(max_length=255)
    holder = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.PROTECT, related_name="locks")
    fencing_number = models.BigIntegerField(default=0)
    resource_type = models.CharField(max_length=64, blank=True)
    resource_id = models.CharField(max_length=255, blank=True)
    acquired_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar = VisibleQuerySet["Lock"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "key"], name="lock_keys_are_unique_in_a_project"),
            models.CheckConstraint(
                condition=Q(holder=None) | Q(expires_at__isnull=False), name="who_holds_a_lock_holds_it_for_a_time"
            ),
        ]
        ordering = ("key",)

    def __str__(self) -> str:
        return self.key


def _limit(default: int, least: int, most: int, text: str) -> models.PositiveIntegerField[int, int]:
    bounds = [MinValueValidator(least), MaxValueValidator(most)]
    return models.PositiveIntegerField(default=default, validators=bounds, help_text=text)


class Limits(models.Model):
    """What a project's coordinated work is bounded by. A project without a row has the defaults."""

    project = models.OneToOneField(Project, primary_key=True, on_delete=models.CASCADE, related_name="limits")
    max_rounds = _limit(3, 1, 1_000, "Rounds of a task; those that an operator rejected are not counted.")
    max_assignments_per_round = _limit(6, 1, 100, "Assignments of a plan.")
    max_messages_per_task = _limit(40, 1, 1_000_000, "Messages that name one of the task's rounds.")
    max_hop_count = _limit(3, 0, 100, "How often a message may be answered or passed on.")
    max_simultaneous_assignments = _limit(4, 1, 1_000, "Assignments that an agent holds at once.")
    lease_minutes = models.FloatField(
        default=90,
        validators=[MinValueValidator(0.01), MaxValueValidator(7 * 1_440)],
        help_text="How long a claim is good without a progress report.",
    )
    auto_approve = models.BooleanField(default=False, help_text="Plans are carried out without an operator.")
    auto_create_next_round = models.BooleanField(
        default=False,
        help_text="After changes_requested or a rejection the next round opens by itself, with the same goals.",
    )

    class Meta:
        verbose_name = verbose_name_plural = "limits"

    def __str__(self) -> str:
        return f"limits of {self.project_id}"


class Presence(models.Model):
    """What an agent that comes by MCP says of itself, and when it last did."""

    agent = models.OneToOneField(Agent, primary_key=True, on_delete=models.CASCADE, related_name="presence")
    name = models.CharField(max_length=128, blank=True)
    capabilities = models.JSONField(default=list, blank=True)
    registered_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name or str(self.agent_id)
