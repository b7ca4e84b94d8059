"""Who may read which part of the trail, and what it can be narrowed to: for REST, pages and the registry alike."""

from datetime import UTC, datetime, timedelta
from typing import Final

import django_filters as filters
from django.db.models import CharField, Q, QuerySet
from django.db.models.functions import Cast

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.api import find_project
from agenthub_site.accounts.authentication import request_actor
from agenthub_site.accounts.errors import OutOfScope
from agenthub_site.accounts.newest import Parts
from agenthub_site.accounts.permissions import Can, may, require
from audit.models import AuditEvent, Stream
from audit.services import INSTANCE, stream_of
from nodes.contract.errors import Forbidden
from nodes.contract.ids import first_id, uuid_of

_CLOCK: Final = timedelta(days=1)
"""An event's time and its id are made together; a clock that was set may have come between them."""
_FIRST, _LAST = datetime(1970, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)
"""Between these there is an id for every time, and nothing happened at any other."""
_ACTORS: Final = ("user", "agent", "node", "integration", "system", "anonymous")


def visible_events(actor: Actor) -> QuerySet[AuditEvent]:
    """What root sees is everything; others, the trails of projects in which they may read it."""
    events: QuerySet[AuditEvent] = AuditEvent.objects.order_by("-id")
    if not actor.is_within_scope(Can.VIEW_AUDIT):
        return events.none()
    if actor.sees_all:
        return events
    return events.filter(stream__in=_streams(actor))


def visible_streams(actor: Actor) -> Parts | None:
    """Of which trails ``visible_events`` are, where they are of several and not of all."""
    streams = [] if actor.sees_all else _streams(actor)
    return Parts("stream", Stream.objects.filter(pk__in=streams)) if len(streams) > 1 else None


def _streams(actor: Actor) -> list[str]:
    return [stream_of(one) for one in actor.project_ids if may(actor, Can.VIEW_AUDIT, one)]


def find_stream(actor: Actor, project: str) -> str:
    """The stream of a project, by slug or id, or ``instance``, which belongs to none. ``NotFound``, ``Forbidden``."""
    if project == INSTANCE:
        if not actor.sees_all:
            raise Forbidden("Only a root operator may read the hub's own trail.")
        if not actor.is_within_scope(Can.VIEW_AUDIT):
            raise OutOfScope(capability=Can.VIEW_AUDIT.value)
        return INSTANCE
    found = find_project(actor, project)
    require(actor, Can.VIEW_AUDIT, found.pk)
    return stream_of(found.pk)


class EventFilter(filters.FilterSet):  # type: ignore[misc]
    """``actor`` and ``object`` take an id, a label or a kind, or ``kind:id``."""

    project = filters.CharFilter(method="by_project", label="A project's slug or id, or `instance`.")
    name = filters.CharFilter(field_name="name", lookup_expr="startswith", label="What happened, or its beginning.")
    actor = filters.CharFilter(method="by_actor", label="Who did it: an id, a name, a kind, or `kind:id`.")
    object = filters.CharFilter(method="by_object", label="On what: an id, a kind, or `kind:id`.")
    run = filters.UUIDFilter()
    node = filters.UUIDFilter()
    approval = filters.UUIDFilter()
    artifact = filters.CharFilter(label="An artifact's digest.")
    address = filters.CharFilter(label="From where.")
    since = filters.IsoDateTimeFilter(method="by_since", label="Not before this time.")
    until = filters.IsoDateTimeFilter(method="by_until", label="Before this time.")
    q = filters.CharFilter(method="by_text", label="A text in names, labels, ids or data.")

    class Meta:
        model = AuditEvent
        fields = (
            "project", "name", "actor", "object", "run", "node", "approval", "artifact", "address",
            "since", "until", "q",
        )  # fmt: skip

    def by_project(self, events: QuerySet[AuditEvent], _name: str, value: str) -> QuerySet[AuditEvent]:
        return events.filter(stream=find_stream(request_actor(self.request), value))

    def by_actor(self, events: QuerySet[AuditEvent], _name: str, value: str) -> QuerySet[AuditEvent]:
        kind, colon, id_ = value.partition(":")
        if colon:
            return events.filter(actor_kind=kind, actor_id=id_)
        if value in _ACTORS:
            return events.filter(actor_kind=value)
        return events.filter(Q(actor_id=value) | Q(actor_label=value))

    def by_object(self, events: QuerySet[AuditEvent], _name: str, value: str) -> QuerySet[AuditEvent]:
        kind, colon, id_ = value.partition(":")
        if colon:
            return events.filter(object_kind=kind, object_id=id_)
        if str(uuid_of(value)) == value:  # no kind is called so; the index of ids serves where nothing else may fit
            return events.filter(object_id=value)
        return events.filter(Q(object_id=value) | Q(object_kind=value))

    def by_since(self, events: QuerySet[AuditEvent], _name: str, value: datetime) -> QuerySet[AuditEvent]:
        """By the ids as well, in whose order events are read: what is older is not gone through."""
        since = max(value, _FIRST)
        return events.filter(at__gte=since, pk__gte=first_id(since - _CLOCK))

    def by_until(self, events: QuerySet[AuditEvent], _name: str, value: datetime) -> QuerySet[AuditEvent]:
        until = min(max(value, _FIRST), _LAST)
        return events.filter(at__lt=until, pk__lt=first_id(until + _CLOCK))

    def by_text(self, events: QuerySet[AuditEvent], _name: str, value: str) -> QuerySet[AuditEvent]:
        texts = ("name", "actor_label", "object_id", "address", "user_agent", "data_as_text")
        found = Q()
        for text in texts:
            found |= Q(**{f"{text}__icontains": value})
        return events.alias(data_as_text=Cast("data", CharField())).filter(found)
