"""The registry's page of webhooks. A new one's secret is shown once, above the list."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.template.defaultfilters import truncatechars

from agenthub_site.accounts.hub_admin import HubAdmin

from .models import Webhook
from .services import add_webhook, change_webhook, remove_webhook, rotate_webhook_secret


@admin.register(Webhook)
class WebhookAdmin(HubAdmin):
    labels = {"url": "Address", "is_enabled": "Enabled"}
    help_texts = {
        "name": "Messages to webhook:NAME are posted to its address.",
        "url": "https://host/path. It may hold a key: who manages the project's webhooks sees it.",
        "is_enabled": "While it is off nobody can write to it, and what waits goes on waiting.",
    }
    list_display = ("name", "project", "address", "enabled", "failures", "last_at", "last_result")
    list_filter = ("is_enabled",)
    search_fields = ("name", "project__slug")
    list_select_related = ("project",)
    fields = ("project", "name", "url", "is_enabled")
    actions = ("rotate",)

    def get_fields(self, request: HttpRequest, obj: Webhook | None = None) -> tuple[str, ...]:
        return ("project", "name", "url", "is_enabled") if obj else ("project", "name", "url")

    def get_readonly_fields(self, request: HttpRequest, obj: Webhook | None = None) -> tuple[str, ...]:
        return ("project", "name") if obj else ()

    @admin.display(description="address", ordering="url")
    def address(self, webhook: Webhook) -> str:
        return truncatechars(webhook.url, 50)

    @admin.display(description="enabled", ordering="is_enabled", boolean=True)
    def enabled(self, webhook: Webhook) -> bool:
        return webhook.is_enabled

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request)

    def save_model(self, request: HttpRequest, obj: Webhook, form: ModelForm[Webhook], change: bool) -> None:
        if change:
            change_webhook(obj, by=self.actor(request), url=obj.url, is_enabled=obj.is_enabled)
            return
        made, secret = add_webhook(obj.project, name=obj.name, url=obj.url, by=self.actor(request))
        obj.pk = made.pk
        self._tell(request, obj, secret)

    def delete_model(self, request: HttpRequest, obj: Webhook) -> None:
        remove_webhook(obj, by=self.actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        for webhook in queryset:
            remove_webhook(webhook, by=self.actor(request))

    @admin.action(description="Make a new secret", permissions=["view"])
    def rotate(self, request: HttpRequest, webhooks: QuerySet[Webhook]) -> None:
        for webhook in webhooks.select_related("project"):
            self._tell(request, webhook, rotate_webhook_secret(webhook, by=self.actor(request)))

    def _tell(self, request: HttpRequest, webhook: Webhook, secret: str) -> None:
        self.message_user(request, f"The secret of {webhook.name}, which is shown this once: {secret}")
