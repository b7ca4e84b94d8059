"""REST: webhooks, for those who manage a project's messages to the outside."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.api import find_project
from agenthub_site.accounts.idempotency import idempotent
from agenthub_site.accounts.permissions import Can, may
from agenthub_site.accounts.rest import HubViewSet, In

from .models import URL_CHARS, Webhook
from .services import add_webhook, change_webhook, remove_webhook, rotate_webhook_secret


class WebhookChangesIn(In):
    url = serializers.CharField(max_length=URL_CHARS, required=False, help_text="https://host/path")
    is_enabled = serializers.BooleanField(required=False, help_text="Off, what waits is posted once it is on again.")


class WebhookIn(In):
    project = serializers.CharField(max_length=64, help_text="A slug or id.")
    name = serializers.CharField(max_length=64, help_text="It is written to as webhook:NAME.")
    url = serializers.CharField(max_length=URL_CHARS, help_text="https://host/path")


class WebhookOut(serializers.ModelSerializer[Webhook]):
    project = serializers.CharField(source="project.slug")
    last_result = serializers.CharField(help_text="The last answer's status, or why there was none.")

    class Meta:
        model = Webhook
        fields = ("id", "project", "name", "url", "is_enabled", "failures", "last_at", "last_result", "created_at")


class NewWebhookOut(WebhookOut):
    secret = serializers.SerializerMethodField(help_text="What signs its deliveries. It is told this once.")

    class Meta:
        model = Webhook
        fields = (*WebhookOut.Meta.fields, "secret")

    def get_secret(self, webhook: Webhook) -> str:
        return str(self.context["secret"])


class WebhookViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Addresses outside, to which messages to ``webhook:NAME`` are posted, signed."""

    queryset = Webhook.objects.none()
    serializer_class = WebhookOut
    filterset_fields = ("project", "is_enabled")

    def get_queryset(self) -> "QuerySet[Webhook]":
        """Those of the projects whose webhooks the actor manages: an address may hold a key."""
        found: QuerySet[Webhook] = Webhook.objects.visible_to(self.actor)
        if not self.actor.sees_all:
            own = [pk for pk in self.actor.project_ids if may(self.actor, Can.MANAGE_WEBHOOKS, pk)]
            found = found.filter(project_id__in=own)
        return found.select_related("project")

    @extend_schema(request=WebhookIn, responses={201: NewWebhookOut})
    @idempotent(untold=("secret",))
    def create(self, request: Request) -> Response:
        """Make a webhook. Its secret is in this answer and never told again."""
        given = self.read(WebhookIn)
        project = find_project(self.actor, given.pop("project"))
        return self._told(*add_webhook(project, by=self.actor, **given), status=201)

    @extend_schema(request=WebhookChangesIn, responses=WebhookOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        changes: dict[str, Any] = self.read(WebhookChangesIn, partial=True)
        return Response(self.get_serializer(change_webhook(self.get_object(), by=self.actor, **changes)).data)

    @extend_schema(responses={204: OpenApiResponse(description="Removed; what waited for it is dead.")})
    def destroy(self, request: Request, pk: str) -> Response:
        remove_webhook(self.get_object(), by=self.actor)
        return Response(status=204)

    @extend_schema(request=None, responses=NewWebhookOut)
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, pk: str) -> Response:
        """A new secret, told this once. For a day deliveries have a signature by the former one as well."""
        webhook = self.get_object()
        return self._told(webhook, rotate_webhook_secret(webhook, by=self.actor))

    def _told(self, webhook: Webhook, secret: str, status: int = 200) -> Response:
        context = {**self.get_serializer_context(), "secret": secret}
        return Response(NewWebhookOut(webhook, context=context).data, status=status)
