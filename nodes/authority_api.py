"""REST: which authority the nodes trust, and replacing it. Root only."""

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agenthub_site.accounts.authentication import request_actor
from agenthub_site.accounts.permissions import Can, require
from agenthub_site.accounts.rest import In

from .authority import OVERLAP, Standing, retire_authority, rotate_authority, standing

_HOURS = OVERLAP.total_seconds() / 3600


class RotateIn(In):
    overlap_hours = serializers.FloatField(default=_HOURS, min_value=0, max_value=24 * 365)


class RetireIn(In):
    force = serializers.BooleanField(default=False)


class AuthorityOut(serializers.Serializer[Any]):
    """``fingerprint`` is SHA-256 in hex. ``former`` and ``until`` are empty unless the authority is being replaced."""

    fingerprint = serializers.CharField()
    expires_at = serializers.DateTimeField()
    former = serializers.CharField(allow_blank=True)
    until = serializers.DateTimeField(allow_null=True)
    waiting = serializers.ListField(child=serializers.CharField())


def _shown(now: Standing) -> Response:
    return Response(AuthorityOut(now).data)


def _read(request: Request, shape: type[In]) -> dict[str, Any]:
    given = shape(data=request.data)
    given.is_valid(raise_exception=True)
    values: dict[str, Any] = given.validated_data
    return values


class AuthorityView(APIView):
    """Which authority issues, and which nodes do not know it yet."""

    @extend_schema(operation_id="nodes_authority", responses={200: AuthorityOut})
    def get(self, request: Request) -> Response:
        require(request_actor(request), Can.MANAGE_NODES)
        return _shown(standing())


class RotateAuthorityView(APIView):
    """Replace the authority: both are trusted for a while, and nodes renew by themselves."""

    @extend_schema(operation_id="nodes_authority_rotate", request=RotateIn, responses={200: AuthorityOut})
    def post(self, request: Request) -> Response:
        overlap = timedelta(hours=_read(request, RotateIn)["overlap_hours"])
        return _shown(rotate_authority(request_actor(request), overlap))


class RetireAuthorityView(APIView):
    """Trust the former authority no more; refused while nodes need it, unless forced."""

    @extend_schema(operation_id="nodes_authority_retire", request=RetireIn, responses={200: AuthorityOut})
    def post(self, request: Request) -> Response:
        return _shown(retire_authority(request_actor(request), is_forced=_read(request, RetireIn)["force"]))
