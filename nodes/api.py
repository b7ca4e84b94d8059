"""REST: nodes, to look at."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework import mixins
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from agenthub_site.accounts.rest import HubViewSet

from .evidence import health_of
from .models import Node
from .queries import visible_nodes
from .serializers import NodeDetailsOut, NodeOut

_EITHER = PolymorphicProxySerializer("NodeForYou", serializers=[NodeOut, NodeDetailsOut], resource_type_field_name=None)


class NodeViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """The machines that execute runs. A member sees what may be chosen; a root operator sees all that is known."""

    queryset = Node.objects.none()
    serializer_class = NodeOut

    def get_queryset(self) -> QuerySet[Node]:
        return visible_nodes(self.actor)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        health = health_of(page, timezone.now())
        return self.get_paginated_response(NodeOut(page, many=True, context={"health": health}).data)

    @extend_schema(responses=_EITHER)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        shape: type[BaseSerializer[Node]] = NodeDetailsOut if self.actor.sees_all else NodeOut
        node = self.get_object()
        return Response(shape(node, context={"health": health_of([node], timezone.now())}).data)
