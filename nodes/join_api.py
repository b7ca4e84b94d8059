"""REST: tokens for joining, the two doors that a joining machine comes through, and revoking."""

import base64
import binascii
from typing import Any

from django.conf import settings
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.fields import Field
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agenthub_site.accounts.authentication import request_actor, request_address
from agenthub_site.accounts.rest import In
from nodes.contract.errors import Invalid

from .doors import hub_url, join_command, reach_warning
from .join import create_join_token, enroll, renew, revoke_node
from .queries import visible_nodes

MOST_PEM = 8_192


def _pem() -> "Field[Any, Any, Any, Any]":
    return serializers.CharField(max_length=MOST_PEM, trim_whitespace=False)


class NewJoinTokenIn(In):
    name = serializers.CharField(max_length=200)
    allow_projects = serializers.ListField(
        child=serializers.SlugField(max_length=64), max_length=100, required=False,
        help_text="Slugs of projects whose runs may use the node: each gets a route.",
    )  # fmt: skip


class JoinTokenOut(serializers.Serializer[Any]):
    token = serializers.CharField()
    node = serializers.UUIDField()
    name = serializers.CharField()
    expires_at = serializers.DateTimeField()
    url = serializers.CharField()
    addresses = serializers.ListField(child=serializers.CharField())
    command = serializers.CharField()
    warning = serializers.CharField(allow_blank=True)


class EnrollIn(serializers.Serializer[Any]):
    """From a machine: what a newer one says besides is ignored."""

    token = serializers.UUIDField()
    name = serializers.CharField(max_length=128, allow_blank=True, default="")
    target = serializers.CharField(max_length=255, allow_blank=True, default="")
    holds = serializers.UUIDField(allow_null=True, default=None)
    csr = _pem()
    proof = serializers.CharField(max_length=64)


class EnrolledOut(serializers.Serializer[Any]):
    node = serializers.UUIDField()
    name = serializers.CharField()
    generation = serializers.IntegerField()
    certificate = serializers.CharField()
    authority = serializers.CharField()
    addresses = serializers.ListField(child=serializers.CharField())
    proof = serializers.CharField()


class RenewIn(serializers.Serializer[Any]):
    """From a machine: what a newer one says besides is ignored."""

    node = serializers.UUIDField()
    csr = _pem()
    timestamp = serializers.IntegerField(min_value=0, max_value=2**40)
    certificate = _pem()
    signature = serializers.CharField(max_length=256)


class RenewedOut(serializers.Serializer[Any]):
    certificate = serializers.CharField()
    authorities = serializers.CharField()
    proof = serializers.CharField()


class RevokedOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    generation = serializers.IntegerField()
    is_enabled = serializers.BooleanField()


def _read(request: Request, shape: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    given = shape(data=request.data)
    given.is_valid(raise_exception=True)
    values: dict[str, Any] = given.validated_data
    return values


class JoinTokensView(APIView):
    """Root makes a token; its text is in the answer and nowhere else."""

    @extend_schema(operation_id="nodes_join_tokens_create", request=NewJoinTokenIn, responses={201: JoinTokenOut})
    def post(self, request: Request) -> Response:
        given = _read(request, NewJoinTokenIn)
        made = create_join_token(given["name"], request_actor(request), given.get("allow_projects", ()))
        text, url = made.text.encode(), hub_url(settings.CONFIG)
        shown = JoinTokenOut(
            {
                "token": text,
                "node": made.token.node_id,
                "name": made.token.node.slug,
                "expires_at": made.token.expires_at,
                "url": url,
                "addresses": made.text.addresses,
                "command": join_command(url, text),
                "warning": reach_warning(settings.CONFIG),
            }
        )
        return Response(shown.data, status=201)


class EnrollView(APIView):
    """A machine with a token becomes a node. Its proof is all that counts: no session, no bearer."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(operation_id="nodes_enroll", request=EnrollIn, responses={201: EnrolledOut})
    def post(self, request: Request) -> Response:
        given = _read(request, EnrollIn)
        address = request_address(request._request)
        answer, proof = enroll(
            given["token"], given["name"], given["csr"], given["proof"], target=given["target"],
            holds=given["holds"], address=address,
        )  # fmt: skip
        shown = EnrolledOut(
            {
                "node": answer.node,
                "name": answer.slug,
                "generation": answer.generation,
                "certificate": answer.certificate,
                "authority": answer.authority,
                "addresses": answer.addresses,
                "proof": proof,
            }
        )
        return Response(shown.data, status=201)


class RenewView(APIView):
    """A joined node gets its next certificate. Its signature is all that counts: no session, no bearer."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(operation_id="nodes_renew", request=RenewIn, responses={200: RenewedOut})
    def post(self, request: Request) -> Response:
        given = _read(request, RenewIn)
        renewed = renew(
            given["node"], given["csr"], given["timestamp"], given["certificate"], _signature(given["signature"]),
            address=request_address(request._request),
        )  # fmt: skip
        proof = base64.b64encode(renewed.proof).decode()
        shown = RenewedOut({"certificate": renewed.certificate, "authorities": renewed.authorities, "proof": proof})
        return Response(shown.data)


class RevokeNodeView(APIView):
    """Root ends a node's part at once: its link is cut, and no certificate that it has is accepted any more."""

    @extend_schema(operation_id="nodes_revoke", request=None, responses={200: RevokedOut})
    def post(self, request: Request, pk: str) -> Response:
        actor = request_actor(request)
        node = get_object_or_404(visible_nodes(actor), pk=pk)
        return Response(RevokedOut(revoke_node(node, by=actor)).data)


def _signature(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(fields={"signature": ["This is not base64."]}) from error
