"""REST: triggers."""

import json
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.api import find_project
from agenthub_site.accounts.idempotency import idempotent
from agenthub_site.accounts.rest import HubViewSet, In
from nodes.contract.errors import Invalid

from ..queries import find_agent
from .models import Firing, Trigger
from .services import cancel_trigger, is_readable, pause_trigger, resume_trigger, set_trigger

_SHOWN = 200


class FiringOut(serializers.ModelSerializer[Firing]):
    class Meta:
        model = Firing
        fields = ("due_at", "at", "outcome", "detail", "message_id", "run_id")


class TriggerOut(serializers.ModelSerializer[Trigger]):
    project_slug = serializers.CharField(source="project.slug")
    agent_name = serializers.CharField(source="agent.name", allow_null=True, default=None)
    schedule = serializers.CharField(help_text="`0 9 * * mon-fri Europe/Oslo`, or `once`.")
    payload = serializers.SerializerMethodField()

    class Meta:
        model = Trigger
        fields = (
            "id", "project", "project_slug", "name", "owner_kind", "owner_id", "owner_label", "schedule", "cron",
            "timezone", "to", "subject", "payload", "agent", "agent_name", "prompt", "overlap", "catch_up", "state",
            "next_at", "attempts", "last_error", "last_run", "created_at",
        )  # fmt: skip

    @extend_schema(responses=None)
    def get_payload(self, trigger: Trigger) -> Any:
        return json.loads(trigger.payload)

    def to_representation(self, instance: Trigger) -> dict[str, Any]:
        """Its message is its owner's and theirs who manage messages; others see that there is a trigger."""
        shown = super().to_representation(instance)
        if not is_readable(instance, self.context["view"].actor):
            shown.update(payload=None, subject="", to=[])
        return shown


class TimeField(serializers.DateTimeField):
    """A time as it was given: which zone is meant by one that names none is said beside it."""

    def enforce_timezone(self, value: datetime) -> datetime:
        return value


class TriggerIn(In):
    """When: ``at``, ``delay_seconds`` or ``cron``. What: a message (``to``, ``payload``), or a run (``agent``, ``prompt``)."""  # noqa: E501

    project = serializers.CharField(required=False, help_text="A slug or id; an agent's own, if left out.")
    name = serializers.CharField(required=False, allow_blank=True, max_length=64)
    at = TimeField(required=False, help_text="Within 30 days.")
    delay_seconds = serializers.FloatField(required=False, min_value=1, max_value=2_592_000)
    cron = serializers.CharField(required=False, max_length=100, help_text="Five fields.")
    timezone = serializers.CharField(
        required=False, max_length=64, help_text="Of `cron`, and of an `at` without one; UTC, if left out."
    )
    to = serializers.ListField(child=serializers.CharField(max_length=200), required=False, max_length=100)
    subject = serializers.CharField(required=False, allow_blank=True, max_length=200)
    payload = serializers.JSONField(required=False)
    agent = serializers.CharField(required=False, help_text="Starts a run of it; by id or name.")
    prompt = serializers.CharField(required=False)
    overlap = serializers.ChoiceField(Trigger.Overlap.choices, required=False)
    catch_up = serializers.ChoiceField(Trigger.CatchUp.choices, required=False)


class TriggerViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.DestroyModelMixin, HubViewSet):
    """A message or a run later, once or by cron."""

    queryset = Trigger.objects.none()
    serializer_class = TriggerOut
    filterset_fields = ("project", "state", "agent")

    def get_queryset(self) -> "QuerySet[Trigger]":
        found: QuerySet[Trigger] = Trigger.objects.visible_to(self.actor).select_related("project", "agent")
        return found

    @extend_schema(request=TriggerIn, responses={201: TriggerOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        given = self.read(TriggerIn)
        agent = find_agent(self.actor, given["agent"]) if given.get("agent") else None
        if agent is not None and ("to" in given or "payload" in given):
            raise Invalid("A trigger sends a message or starts a run: to and payload, or agent and prompt.")
        if given.get("project"):
            project = find_project(self.actor, given["project"])
        elif agent is not None:
            project = agent.project
        elif len(self.actor.roles) == 1:
            project = find_project(self.actor, str(self.actor.project_ids[0]))
        else:
            raise Invalid("Say in which project.", fields={"project": ["is missing"]})
        names = ("at", "delay_seconds", "cron", "to", "payload", "subject", "prompt", "name", "overlap", "catch_up")
        wanted = {name: given[name] for name in names if name in given}
        trigger = set_trigger(project, by=self.actor, agent=agent, zone=given.get("timezone", ""), **wanted)
        return Response(self.get_serializer(trigger).data, status=201)

    def perform_destroy(self, instance: Trigger) -> None:
        cancel_trigger(instance, by=self.actor)

    @extend_schema(request=None, responses=TriggerOut)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """What is due meanwhile is missed."""
        return Response(self.get_serializer(pause_trigger(self.get_object(), by=self.actor)).data)

    @extend_schema(request=None, responses=TriggerOut)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Go on with the next time."""
        return Response(self.get_serializer(resume_trigger(self.get_object(), by=self.actor)).data)

    @extend_schema(responses=FiringOut(many=True), filters=False)
    @action(detail=True, methods=["get"], filterset_fields=None, pagination_class=None)
    def history(self, request: Request, pk: str) -> Response:
        """What its last times came to, the newest first; 200 are kept."""
        return Response(FiringOut(self.get_object().firings.all()[:_SHOWN], many=True).data)
