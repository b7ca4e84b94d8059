"""The registry's page of prices."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from agenthub_site.accounts.hub_admin import HubAdmin

from .models import Price
from .prices import remove_price, set_price


@admin.register(Price)
class PriceAdmin(HubAdmin):
    """Of a million tokens, in millionths of the currency."""

    list_display = ("pattern", "input_micros", "output_micros", "currency", "created_at")
    search_fields = ("pattern",)
    fields = ("pattern", "input_micros", "output_micros", "currency")

    def get_readonly_fields(self, request: HttpRequest, obj: Price | None = None) -> tuple[str, ...]:
        return ("pattern",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request)

    def save_model(self, request: HttpRequest, obj: Price, form: ModelForm[Price], change: bool) -> None:
        made = set_price(
            obj.pattern, by=self.actor(request), input_micros=obj.input_micros, output_micros=obj.output_micros,
            currency=obj.currency,
        )  # fmt: skip
        obj.pk = made.pk

    def delete_model(self, request: HttpRequest, obj: Price) -> None:
        remove_price(obj, by=self.actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Price]) -> None:
        for price in queryset:
            remove_price(price, by=self.actor(request))
