"""The registry's page of prices."""

from __future__ import annotations

from typing import Final

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from agenthub_site.accounts.hub_admin import HubAdmin

from .models import Price
from .prices import remove_price, set_price

_MICROS: Final = "In millionths of the currency: 1250000 is 1.25."


@admin.register(Price)
class PriceAdmin(HubAdmin):
    """Of a million tokens, in millionths of the currency."""

    labels = {"input_micros": "A million tokens in", "output_micros": "A million tokens out"}
    help_texts = {
        "pattern": "The models it is for: gpt-5, or gpt-5* for all that begin so.",
        "input_micros": _MICROS,
        "output_micros": _MICROS,
        "currency": "Three letters, as in USD.",
    }
    list_display = ("pattern", "tokens_in", "tokens_out", "created_at")
    search_fields = ("pattern",)
    fields = ("pattern", "input_micros", "output_micros", "currency")

    @admin.display(description="a million tokens in", ordering="input_micros")
    def tokens_in(self, price: Price) -> str:
        return f"{price.input_micros / 1_000_000:,.2f} {price.currency}"

    @admin.display(description="a million tokens out", ordering="output_micros")
    def tokens_out(self, price: Price) -> str:
        return f"{price.output_micros / 1_000_000:,.2f} {price.currency}"

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
