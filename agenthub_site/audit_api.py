"""REST: the audit trail, to read, to search, and to take away and verify."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import mixins, serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agenthub_site.accounts.authentication import request_actor
from agenthub_site.accounts.newest import Parts
from agenthub_site.accounts.permissions import Can, require
from agenthub_site.accounts.rest import HubViewSet
from agenthub_site.audit_trail import EventFilter, find_stream, visible_events, visible_streams
from agents.downloads import Bytes
from audit.export import Export
from audit.models import AuditEvent
from audit.sealer import latest_checkpoint
from nodes.contract.errors import Invalid, NotFound


class AuditEventOut(serializers.ModelSerializer[AuditEvent]):
    class Meta:
        model = AuditEvent
        fields = (
            "id", "stream", "number", "name", "at", "actor_kind", "actor_id", "actor_label", "object_kind",
            "object_id", "project", "node", "run", "approval", "artifact", "address", "user_agent", "data",
        )  # fmt: skip


_OF_MUCH: Final = frozenset({"actor", "cursor", "limit", "name", "since", "until"})
"""Where these alone are asked for, much mostly fits."""


class AuditViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Who did what, on what, from where; newest first. Yours are the trails of projects you maintain; root's, all."""

    queryset = AuditEvent.objects.none()
    serializer_class = AuditEventOut
    filterset_class = EventFilter

    def get_queryset(self) -> QuerySet[AuditEvent]:
        return visible_events(self.actor)

    def parts(self) -> Parts | None:
        """What else is looked for is rare, or has an index of its own: all is read once, and not twice."""
        return visible_streams(self.actor) if self.request.query_params.keys() <= _OF_MUCH else None

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().filter_queryset(queryset) if self.action == "list" else queryset


class CheckpointView(APIView):
    """The latest checkpoint: to be kept elsewhere, where nobody who has this hub can change it."""

    @extend_schema(
        operation_id="audit_checkpoint",
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("project", str, description="A project's, by slug or id; without, of all.")],
    )
    def get(self, request: Request) -> Response:
        actor, project = request_actor(request), request.query_params.get("project")
        if project is None:
            require(actor, Can.MANAGE_USERS)
        which = {"stream": find_stream(actor, project)} if project is not None else {}
        found = latest_checkpoint(**which)
        if found is None:
            raise NotFound("Nothing is sealed yet; the control plane does it within a second or two.")
        return Response(found.as_json())


class ExportView(APIView):
    """The trail as lines of JSON, with all that is needed to verify it. As it is when this is asked for."""

    renderer_classes = (JSONRenderer, Bytes)

    @extend_schema(
        operation_id="audit_export",
        responses={(200, "application/x-ndjson"): OpenApiResponse(OpenApiTypes.STR, "One object a line.")},
        parameters=[
            OpenApiParameter("project", str, description="A project's slug or id, or `instance`; without, all: root."),
            OpenApiParameter("after", int, description="Only events after this number; with `project` only."),
        ],
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        actor, project = request_actor(request), request.query_params.get("project")
        after = _number(request.query_params.get("after", "0"))
        if project is None:
            if after:
                raise Invalid(fields={"after": ["Say of which project: numbers are each project's own."]})
            require(actor, Can.MANAGE_USERS)
        export = Export(find_stream(actor, project) if project is not None else None, after)
        response = StreamingHttpResponse(_sent(export.parts()), content_type="application/x-ndjson")
        response["Cache-Control"] = "no-store"
        response["X-Accel-Buffering"] = "no"
        return response


async def _sent(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """A thousand events at a time, each part read when the one before was taken."""
    while (part := await sync_to_async(_next)(parts)) is not None:
        if part:
            yield part


def _next(parts: Iterator[bytes]) -> bytes | None:
    return next(parts, None)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise Invalid(fields={"after": ["This is no number."]})
    return int(text)
