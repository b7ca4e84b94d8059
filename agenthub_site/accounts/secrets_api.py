"""REST: the hub's own secrets. They go in, and never come out again."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from . import hub_secrets
from .models import HubSecret
from .permissions import Can, require
from .rest import HubViewSet, In


class SecretIn(In):
    value = serializers.CharField(
        max_length=hub_secrets.VALUE_CHARS, trim_whitespace=False, write_only=True, help_text="Told to nobody again."
    )


class SecretOut(serializers.ModelSerializer[HubSecret]):
    class Meta:
        model = HubSecret
        fields = ("name", "set_at", "set_by", "last_used_at", "key_id")


class RotatedOut(serializers.Serializer[Any]):
    key_id = serializers.CharField(help_text="The key that encrypts everything now.")
    re_encrypted = serializers.IntegerField()
    unreadable = serializers.ListField(child=serializers.CharField(), help_text="To be set anew: their key is lost.")
    is_in_file = serializers.BooleanField(help_text="Kept in the home; else it is the one of the settings.")


class SecretViewSet(mixins.ListModelMixin, HubViewSet):
    """What the hub must be able to read again, such as the identity provider's client secret. For root operators."""

    queryset = HubSecret.objects.none()
    serializer_class = SecretOut
    filter_backends = ()
    lookup_field = "name"
    lookup_value_regex = "[^/]{1,64}"

    def get_queryset(self) -> QuerySet[HubSecret]:
        require(self.actor, Can.MANAGE_SECRETS)
        return HubSecret.objects.all()

    @extend_schema(request=SecretIn, responses=SecretOut)
    def update(self, request: Request, name: str) -> Response:
        """Set a secret, in place of what it was."""
        require(self.actor, Can.MANAGE_SECRETS)
        secret = hub_secrets.set_secret(name, self.read(SecretIn)["value"], self.actor)
        return Response(SecretOut(secret).data)

    @extend_schema(responses={204: OpenApiResponse(description="Forgotten.")})
    def destroy(self, request: Request, name: str) -> Response:
        """Forget a secret."""
        hub_secrets.delete_secret(name, self.actor)
        return Response(status=204)

    @extend_schema(request=None, responses=RotatedOut)
    @action(detail=False, methods=["post"], url_path="rotate-key")
    def rotate_key(self, request: Request) -> Response:
        """Encrypt every secret with a new key, or with that of the settings."""
        return Response(RotatedOut(hub_secrets.rotate_key(self.actor)).data)
