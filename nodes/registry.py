"""REST: the registry of nodes, for root operators. Its addresses have no slash at their end."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.idempotency import idempotent
from agenthub_site.accounts.permissions import Can, require
from agenthub_site.accounts.rest import HubViewSet
from nodes.contract.errors import Invalid

from .connection import try_connection
from .evidence import health_of
from .models import Node
from .peering import Bootstrap
from .queries import registered_nodes
from .routes import allow_projects, find_projects, projects_by_node
from .serializers import BootstrapOut, HealthOut, NewNodeIn, NodeIn, RegisteredNodeOut, TriedOut
from .services import cordon_node, delete_node, drain_node, edit_node, register_node, uncordon_node


def _nobody_said(nodes: Iterable[UUID]) -> Mapping[UUID, int]:
    raise NotImplementedError


class NodeRegistry(HubViewSet):
    """The registry of nodes. ``id`` is the name that a node is registered under, as in ``node:gpu-01``."""

    queryset = Node.objects.none()
    serializer_class = RegisteredNodeOut
    filter_backends = ()
    lookup_field = "slug"
    lookup_url_kwarg = "id"
    count_live: Callable[[Iterable[UUID]], Mapping[UUID, int]] = staticmethod(_nobody_said)
    """How many runs each of these nodes holds. Runs are not this app's: who routes here says it."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        require(self.actor, Can.MANAGE_NODES)

    def get_queryset(self) -> QuerySet[Node]:
        return registered_nodes()

    def _show(self, nodes: Sequence[Node]) -> Any:
        context = {
            "health": health_of(nodes, timezone.now()),
            "live_runs": self.count_live(node.pk for node in nodes),
            "projects": projects_by_node(nodes),
        }
        return RegisteredNodeOut(nodes, many=True, context=context).data

    @extend_schema(operation_id="agent_nodes_list")
    def list(self, request: Request) -> Response:
        """A page of the registry, newest first."""
        page = self.paginate_queryset(self.get_queryset()) or []
        return self.get_paginated_response(self._show(page))

    @extend_schema(operation_id="agent_nodes_create", request=NewNodeIn, responses={201: RegisteredNodeOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        """Register a node. ``grpc_target`` is needed for the hub to dial, and null for a node that dials the hub."""
        given = self.read(NewNodeIn)
        closing, projects = _closing(given), find_projects(given.pop("allow_projects", ()))
        with transaction.atomic():
            node = register_node(by=self.actor, slug=given.pop("id"), **given)
            allow_projects(node, projects, by=self.actor)
            node = self._close(node, *closing)
        return self._answer(node, 201)

    @extend_schema(operation_id="agent_nodes_retrieve", responses=RegisteredNodeOut)
    def retrieve(self, request: Request, id: str) -> Response:
        return self._answer(self.get_object())

    @extend_schema(operation_id="agent_nodes_update", request=NodeIn, responses=RegisteredNodeOut)
    def update(self, request: Request, id: str) -> Response:
        """Change a node. Fields that are left out keep what they have; the id stays."""
        return self._edit(id)

    @extend_schema(operation_id="agent_nodes_partial_update", request=NodeIn, responses=RegisteredNodeOut)
    def partial_update(self, request: Request, id: str) -> Response:
        """As PUT."""
        return self._edit(id)

    @extend_schema(operation_id="agent_nodes_destroy", responses={204: OpenApiResponse(description="Deleted.")})
    def destroy(self, request: Request, id: str) -> Response:
        """Take a node out of the registry. 409 ``node_in_use`` with the ``agents`` that are bound to it."""
        delete_node(self.get_object(), by=self.actor)
        return Response(status=204)

    @extend_schema(operation_id="agent_nodes_health", responses=HealthOut)
    def health(self, request: Request, id: str) -> Response:
        """How the node is, from what the hub has heard and measured; null is what nobody has measured."""
        node = get_object_or_404(registered_nodes(), slug=id)
        return Response(HealthOut(health_of([node], timezone.now())[node.pk]).data)

    @extend_schema(operation_id="agent_nodes_bootstrap", responses=BootstrapOut)
    def bootstrap(self, request: Request) -> Response:
        """How this hub dials nodes by configuration. ``token_command``, on its machine, prints the bootstrap token."""
        return Response(BootstrapOut(Bootstrap.of(settings.CONFIG)).data)

    @extend_schema(operation_id="agent_nodes_test_connection", request=None, responses=TriedOut)
    def test_connection(self, request: Request, id: str) -> Response:
        """Dial the node now, for ten seconds at most; of one that dials the hub, say whether its link is up."""
        return Response(TriedOut(try_connection(get_object_or_404(registered_nodes(), slug=id), by=self.actor)).data)

    def _edit(self, slug: str) -> Response:
        given = self.read(NodeIn, partial=True)
        if given.pop("id", slug) != slug:
            raise Invalid("A node's id stays.", fields={"id": ["It cannot be changed."]})
        closing, projects = _closing(given), find_projects(given.pop("allow_projects", ()))
        with transaction.atomic():
            node = edit_node(self.get_object(), by=self.actor, **given)
            allow_projects(node, projects, by=self.actor)
            node = self._close(node, *closing)
        return self._answer(node)

    def _close(self, node: Node, is_cordoned: bool | None, is_draining: bool | None) -> Node:
        """What is left out stays; a draining node is cordoned, so that ``is_cordoned`` false ends both."""
        if is_draining or (is_draining is None and is_cordoned and node.is_draining):
            return drain_node(node, by=self.actor)
        if is_cordoned or (is_cordoned is None and is_draining is False and node.is_cordoned):
            return cordon_node(node, by=self.actor)
        return uncordon_node(node, by=self.actor) if is_cordoned is False else node

    def _answer(self, node: Node, status: int = 200) -> Response:
        shown = self.get_queryset().get(pk=node.pk)
        return Response(self._show([shown])[0], status=status)


def _closing(given: dict[str, Any]) -> tuple[bool | None, bool | None]:
    """Taken out of the fields, since services of their own do it. ``Invalid`` for an open node that drains."""
    is_cordoned, is_draining = given.pop("is_cordoned", None), given.pop("is_draining", None)
    if is_draining and is_cordoned is False:
        raise Invalid("A draining node is cordoned.", fields={"is_cordoned": ["A draining node is cordoned."]})
    return is_cordoned, is_draining
