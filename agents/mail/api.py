"""REST: what became of messages, and dead letters. Sending and one's inbox are beside Django: ``doors``."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.api import find_project
from agenthub_site.accounts.permissions import Can, may, require
from agenthub_site.accounts.rest import HubViewSet, In
from mailboxes.addresses import Address
from mailboxes.limits import PAGE
from mailboxes.models import Delivery, Message
from mailboxes.reading import LetterPlace, copies, dead_letters
from nodes.contract.errors import Invalid, NotFound
from nodes.contract.ids import uuid_of

from .addressing import address_of, names_of
from .desk import require_own
from .requeuing import find_dead, requeue_mail
from .shapes import show_address, show_mails

_AT_ONCE = 200


class WhoOut(serializers.Serializer[Any]):
    kind = serializers.CharField()
    id = serializers.CharField()
    name = serializers.CharField(allow_blank=True)


class MailOut(serializers.Serializer[Any]):
    """One recipient's copy of a message."""

    number = serializers.IntegerField(help_text="In the recipient's inbox.")
    message_id = serializers.UUIDField()
    project = serializers.UUIDField()
    run_id = serializers.UUIDField(allow_null=True)
    to = WhoOut()
    audience = serializers.CharField(allow_blank=True)
    subject = serializers.CharField(allow_blank=True)
    kind = serializers.CharField()
    payload = serializers.JSONField()
    reply_to = serializers.UUIDField(allow_null=True)
    hop_count = serializers.IntegerField()
    dedupe_key = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    state = serializers.ChoiceField(["queued", "leased", "acked", "dead"])
    redelivered = serializers.IntegerField(help_text="How often it had been handed out before.")
    leased_until = serializers.DateTimeField(allow_null=True)
    settled_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(allow_blank=True)

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), "from": WhoOut()}


class DeadLettersOut(serializers.Serializer[Any]):
    results = MailOut(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class RequeueIn(In):
    to = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=100,
        help_text="Names, or addresses such as agent:ID; all for whom it is dead, if left out.",
    )  # fmt: skip


class RequeuedOut(serializers.Serializer[Any]):
    to = WhoOut(many=True)


class MessageViewSet(HubViewSet):
    """Messages, for those who sent or got them, and for maintainers of the project."""

    queryset = Message.objects.none()
    serializer_class = MailOut
    filter_backends = ()
    pagination_class = None

    @extend_schema(responses=MailOut(many=True), operation_id="messages_retrieve")
    def retrieve(self, request: Request, pk: str) -> Response:
        """Every recipient's copy and its state; a recipient sees its own alone."""
        require_own(self.actor)
        message = find_message(self.actor, uuid_of(pk))
        found = Delivery.objects.order_by("inbox", "number")
        me = address_of(self.actor)
        if not (_is_from(message, me) or may(self.actor, Can.MANAGE_MESSAGES, message.project_id)):
            found = found.filter(inbox__kind=me.kind, inbox__owner=me.id)
        return Response(show_mails(copies(message, found, _AT_ONCE)))

    @extend_schema(
        parameters=[
            OpenApiParameter("project", str, required=True, description="A project's slug or id."),
            OpenApiParameter("cursor", str, description="As `next` has it."),
        ],
        responses=DeadLettersOut, operation_id="messages_dead",
    )  # fmt: skip
    @action(detail=False, methods=["get"])
    def dead(self, request: Request) -> Response:
        """Copies of a project that were given up, the newest message's first, 50 a page."""
        project = find_project(self.actor, request.query_params.get("project", ""))
        require(self.actor, Can.MANAGE_MESSAGES, project.pk)
        letters = dead_letters([project.pk], PAGE + 1, _place(request.query_params.get("cursor", "")))
        query = (
            urlencode({"project": project.slug, "cursor": LetterPlace.of(letters[PAGE - 1])}) if letters[PAGE:] else ""
        )
        after = request.build_absolute_uri(f"{request.path}?{query}") if query else None
        return Response({"results": show_mails(letters[:PAGE]), "next": after, "previous": None})

    @extend_schema(request=RequeueIn, responses=RequeuedOut, operation_id="messages_requeue")
    @action(detail=True, methods=["post"])
    def requeue(self, request: Request, pk: str) -> Response:
        """Deliver again what was given up: to all for whom it was, or to some."""
        message = find_message(self.actor, uuid_of(pk))
        require(self.actor, Can.MANAGE_MESSAGES, message.project_id)
        given = self.read(RequeueIn)
        to = find_dead(message.pk, given["to"]) if "to" in given else None
        moved = [address for address, _ in requeue_mail(message.pk, by=self.actor, to=to)]
        names = names_of(moved)
        return Response({"to": [show_address(address, names) for address in moved]})


def _place(cursor: str) -> LetterPlace | None:
    try:
        return LetterPlace.parse(cursor) if cursor else None
    except ValueError:
        raise Invalid("Leave the cursor as `next` had it.", fields={"cursor": ["cannot be read"]}) from None


def find_message(actor: Actor, pk: UUID | None) -> Message:
    """A message that the actor sent or got, or that is of a project whose mail it manages. Raises ``NotFound``."""
    me = address_of(actor)
    mine: QuerySet[Message] = Message.objects.all()
    if not actor.sees_all:
        managed = [project for project in actor.project_ids if may(actor, Can.MANAGE_MESSAGES, project)]
        got = Delivery.objects.filter(message=pk, inbox__kind=me.kind, inbox__owner=me.id).values("message")
        mine = mine.filter(
            Q(project__in=managed) | Q(sender_kind=me.kind, sender_id=me.id) | Q(pk__in=got),
            project__in=actor.project_ids,
        )
    message = mine.filter(pk=pk).first() if pk else None
    if message is None:
        raise NotFound("There is no such message, or you may not see it.")
    return message


def _is_from(message: Message, who: Address) -> bool:
    return (message.sender_kind, message.sender_id) == (who.kind, who.id)
