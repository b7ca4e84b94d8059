"""The registry's page of the hub's own secrets: to set and to delete, never to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminPasswordWidget

from . import hub_secrets
from .hub_admin import HubAdmin
from .models import HubSecret

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[HubSecret]
else:
    _ModelForm = forms.ModelForm


class SecretForm(_ModelForm):
    value = forms.CharField(
        max_length=hub_secrets.VALUE_CHARS,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="It takes the place of what was set, and is told to nobody again.",
    )

    class Meta:
        model = HubSecret
        fields = ("name",)
        help_texts = {"name": f"One of {', '.join(hub_secrets.KNOWN)}; or webhook.NAME."}


@admin.register(HubSecret)
class HubSecretAdmin(HubAdmin):
    form = SecretForm
    list_display = ("name", "set_at", "set_by", "last_used_at", "key_id")
    search_fields = ("name",)
    ordering = ("name",)
    readonly_fields = ("set_at", "set_by", "last_used_at", "key_id")
    trail_key = "name"
    actions = ("forget",)
    asks_first = {"forget": "What needs them says that they are missing, until they are set again."}

    def get_fields(self, request: HttpRequest, obj: HubSecret | None = None) -> tuple[str, ...]:
        return ("value", *self.readonly_fields) if obj else ("name", "value")

    def save_model(self, request: HttpRequest, obj: HubSecret, form: Any, change: bool) -> None:
        name = obj.name if change else form.cleaned_data["name"]
        saved = hub_secrets.set_secret(name, form.cleaned_data["value"], self.actor(request))
        obj.pk = saved.pk
        obj.refresh_from_db()

    @admin.action(description="Forget", permissions=["view"])
    def forget(self, request: HttpRequest, secrets: QuerySet[HubSecret]) -> None:
        for secret in secrets:
            hub_secrets.delete_secret(secret.name, self.actor(request))
        self.message_user(request, "They are forgotten: what needs them says that they are missing.")
