"""Shapes of tasks, rounds, locks and limits: what goes in and what comes out."""

from typing import Any

from rest_framework import serializers

from agenthub_site.accounts.rest import In

from .models import Assignment, Handoff, Limits, Lock, Review, Round, Task
from .services.limits import LIMITS


class TaskIn(In):
    project = serializers.CharField(max_length=64, help_text="A project's slug or id.")
    key = serializers.CharField(max_length=128, help_text="An id of your choice, unique in the project.")
    title = serializers.CharField(max_length=200)
    description = serializers.CharField(max_length=65_536, allow_blank=True, required=False)
    dispatcher = serializers.CharField(
        max_length=160,
        required=False,
        help_text="The agent that plans it: its id or name. An agent is its own.",
    )


class DispatcherIn(In):
    dispatcher = serializers.CharField(max_length=160, help_text="An agent of the project: its id or name.")


class NoteIn(In):
    note = serializers.CharField(max_length=16_384, allow_blank=True, required=False)


class HandoffOut(serializers.ModelSerializer[Handoff]):
    agent = serializers.CharField(source="agent.name")

    class Meta:
        model = Handoff
        fields = (
            "id", "agent", "branch", "commit_hash", "changed_files", "tests_run", "risks", "next_steps", "notes",
            "created_at",
        )  # fmt: skip


class AssignmentOut(serializers.ModelSerializer[Assignment]):
    agent = serializers.CharField(source="agent.name", default=None, allow_null=True)
    handoff = HandoffOut(default=None, allow_null=True)

    class Meta:
        model = Assignment
        fields = (
            "id", "agent", "is_for_anyone", "goal", "state", "claimed_at", "started_at", "completed_at",
            "lease_expires_at", "expiries", "progress_note", "handoff",
        )  # fmt: skip


class VerdictOut(serializers.ModelSerializer[Review]):
    agent = serializers.CharField(source="agent.name")

    class Meta:
        model = Review
        fields = ("agent", "verdict", "note", "created_at")


class RoundRowOut(serializers.ModelSerializer[Round]):
    project_slug = serializers.CharField(source="project.slug")
    task_key = serializers.CharField(source="task.key")

    class Meta:
        model = Round
        fields: tuple[str, ...] = (
            "id", "project", "project_slug", "task", "task_key", "number", "state", "is_repeat", "operator_note",
            "decided_by", "decided_at", "created_at",
        )  # fmt: skip


class RoundOut(RoundRowOut):
    assignments = serializers.SerializerMethodField()
    review = VerdictOut(default=None, allow_null=True)

    class Meta(RoundRowOut.Meta):
        fields = (*RoundRowOut.Meta.fields, "assignments", "review")

    def get_assignments(self, round_: Round) -> list[dict[str, Any]]:
        listed = round_.assignments.select_related("agent", "handoff__agent").order_by("position")
        shown: list[dict[str, Any]] = AssignmentOut(listed, many=True).data  # type: ignore[assignment]
        return shown


class TaskOut(serializers.ModelSerializer[Task]):
    project_slug = serializers.CharField(source="project.slug")
    dispatcher = serializers.CharField(source="dispatcher.name")

    class Meta:
        model = Task
        fields = (
            "id", "project", "project_slug", "key", "title", "description", "state", "dispatcher", "message_count",
            "created_by", "created_at", "ended_at",
        )  # fmt: skip


class LockOut(serializers.ModelSerializer[Lock]):
    project_slug = serializers.CharField(source="project.slug")
    holder = serializers.CharField(source="holder.name", default=None, allow_null=True)

    class Meta:
        model = Lock
        fields = (
            "id", "project", "project_slug", "key", "holder", "fencing_number", "resource_type", "resource_id",
            "acquired_at", "expires_at",
        )  # fmt: skip


class LimitsOut(serializers.ModelSerializer[Limits]):
    class Meta:
        model = Limits
        fields = LIMITS


class LimitsIn(In):
    """Any of the eight."""

    max_rounds = serializers.IntegerField(required=False)
    max_assignments_per_round = serializers.IntegerField(required=False)
    max_messages_per_task = serializers.IntegerField(required=False)
    max_hop_count = serializers.IntegerField(required=False)
    max_simultaneous_assignments = serializers.IntegerField(required=False)
    lease_minutes = serializers.FloatField(required=False)
    auto_approve = serializers.BooleanField(required=False)
    auto_create_next_round = serializers.BooleanField(required=False)
