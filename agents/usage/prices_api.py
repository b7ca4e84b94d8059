"""REST: what models cost whose runtimes do not say so."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import mixins, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.rest import HubViewSet, In

from .models import Price
from .prices import remove_price, set_price


class PriceIn(In):
    pattern = serializers.CharField(max_length=128, help_text="Of models' names: gpt-5*; the longest that fits counts.")
    input_micros = serializers.IntegerField(
        min_value=0, max_value=10**12, help_text="Of a million input tokens, in millionths of the currency."
    )
    output_micros = serializers.IntegerField(min_value=0, max_value=10**12, help_text="Of a million output tokens.")
    currency = serializers.CharField(max_length=3, default="USD")


class PriceOut(serializers.ModelSerializer[Price]):
    class Meta:
        model = Price
        fields = ("id", "pattern", "input_micros", "output_micros", "currency", "created_at")


class PriceViewSet(mixins.ListModelMixin, HubViewSet):
    """Prices by model, for estimates where no runtime tells a cost. Everybody may read them; root sets them."""

    queryset = Price.objects.all()
    serializer_class = PriceOut
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Price]:
        return Price.objects.all()

    @extend_schema(request=PriceIn, responses=PriceOut, operation_id="prices_set")
    def update(self, request: Request) -> Response:
        """Set the price of a pattern, in place of what was said. It holds for what was used before as well."""
        given: dict[str, Any] = self.read(PriceIn)
        return Response(PriceOut(set_price(given.pop("pattern"), by=self.actor, **given)).data)

    @extend_schema(responses={204: OpenApiResponse(description="Removed.")})
    def destroy(self, request: Request, pk: str) -> Response:
        remove_price(self.get_object(), by=self.actor)
        return Response(status=204)
