"""Triggers, and what each of their times came to."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from agenthub_site.accounts.models import Project
from nodes.contract.ids import new_id

from ..models import Agent, Run, VisibleQuerySet


class Trigger(models.Model):
    """When, and what then: a message in the name of its owner, or a run of an agent, started by its owner."""

    class State(models.TextChoices):
        ACTIVE = "active"
        PAUSED = "paused"
        DONE = "done"
        CANCELLED = "cancelled"
        FAILED = "failed"

    class Overlap(models.TextChoices):
        SKIP = "skip", "not while its last run lives"
        ALLOW = "allow", "beside its last run"

    class CatchUp(models.TextChoices):
        ONE = "one", "once for all that was missed"
        SKIP = "skip", "not at all"
        ALL = "all", "each"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="triggers")
    name = models.CharField(max_length=64, blank=True)
    owner_kind = models.CharField(max_length=16)
    owner_id = models.CharField(max_length=64)
    owner_label = models.CharField(max_length=150, blank=True)
    key = models.CharField(max_length=128, null=True, editable=False)
    """The owner's own for it: asked for again with the same one it is the same trigger."""
    run_id = models.UUIDField(null=True, blank=True, editable=False)
    """The run to which its messages belong."""
    token_id = models.UUIDField(null=True, blank=True, editable=False)
    """The token with which it was set: it may no more than that, and no longer."""
    at = models.DateTimeField(null=True, editable=False)
    delay_seconds = models.FloatField(null=True, editable=False)
    """When it fires once, as it was said: the one or the other."""
    cron = models.CharField(max_length=100, blank=True, default="")
    """Five fields, in ``timezone``. Empty: once, at ``next_at``."""
    timezone = models.CharField(max_length=64, blank=True, default="UTC")
    to = models.JSONField(default=list)
    """Whom to write to, in words; empty where it starts a run."""
    subject = models.CharField(max_length=200, blank=True, default="")
    payload = models.TextField(default="null")
    agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.CASCADE, related_name="triggers")
    prompt = models.TextField(blank=True, default="")
    overlap = models.CharField(max_length=8, choices=Overlap.choices, default=Overlap.SKIP)
    catch_up = models.CharField(max_length=8, choices=CatchUp.choices, default=CatchUp.ONE)
    state = models.CharField(max_length=16, choices=State.choices, default=State.ACTIVE)
    next_at = models.DateTimeField(null=True, blank=True)
    """The time that it waits for; null once there is none."""
    retry_at = models.DateTimeField(null=True, blank=True)
    """When that time is tried again, after a failure."""
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.CharField(max_length=200, blank=True, default="")
    last_run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar = VisibleQuerySet["Trigger"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(state="active") | Q(next_at__isnull=False), name="an_active_trigger_waits_for_a_time"
            ),
            models.UniqueConstraint(fields=["owner_id", "owner_kind", "key"], name="a_key_is_one_trigger_of_its_owner"),
        ]
        indexes = [
            models.Index(fields=["next_at"], condition=Q(state="active"), name="due_triggers"),
            models.Index(fields=["project", "-id"], name="triggers_of_a_project"),
            models.Index(fields=["owner_id", "owner_kind"], name="triggers_of_an_actor"),
        ]
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name or str(self.id)

    @property
    def schedule(self) -> str:
        """``0 9 * * mon-fri Europe/Oslo``, or ``once``."""
        return f"{self.cron} {self.timezone}" if self.cron else "once"


class Firing(models.Model):
    """What one time of a trigger came to."""

    class Outcome(models.TextChoices):
        FIRED = "fired"
        SKIPPED = "skipped"
        MISSED = "missed"
        FAILED = "failed"

    trigger = models.ForeignKey(Trigger, on_delete=models.CASCADE, related_name="firings")
    due_at = models.DateTimeField()
    at = models.DateTimeField()
    outcome = models.CharField(max_length=8, choices=Outcome.choices)
    detail = models.CharField(max_length=200, blank=True, default="")
    message_id = models.UUIDField(null=True)
    run_id = models.UUIDField(null=True)

    class Meta:
        indexes = [models.Index(fields=["trigger", "-id"], name="history_of_a_trigger")]
        ordering = ("-id",)
