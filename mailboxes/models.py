"""Messages, inboxes, deliveries. Written in bulk by ``sending`` and ``settling``, never as objects."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from agenthub_site.accounts.models import Project
from nodes.contract.ids import new_id

from .limits import AUDIENCE_CHARS, KEY_CHARS, SUBJECT_CHARS
from .states import State


class Message(models.Model):
    """What was sent, once for all its recipients. Never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", db_index=False)
    run_id = models.UUIDField(null=True)
    sender_kind = models.CharField(max_length=16)
    sender_id = models.CharField(max_length=64)
    audience = models.CharField(max_length=AUDIENCE_CHARS, blank=True, default="")
    """To whom it was sent in the sender's words, where that is no list of recipients: ``team:all``."""
    subject = models.CharField(max_length=SUBJECT_CHARS, blank=True, default="")
    kind = models.CharField(max_length=32, default="message")
    payload = models.TextField()
    """Compact JSON, served as it is."""
    reply_to_id = models.UUIDField(null=True)
    hop_count = models.PositiveSmallIntegerField(default=0)
    dedupe_key = models.CharField(max_length=KEY_CHARS, null=True)
    digest = models.CharField(max_length=64)
    """Of what the sender said: the same key with another digest is a conflict."""
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["dedupe_key", "sender_id", "sender_kind", "project"], name="a_dedupe_key_is_used_once"
            ),
        ]
        indexes = [models.Index(fields=["project", "-id"], name="messages_of_a_project")]
        ordering = ("-id",)

    def __str__(self) -> str:
        return str(self.id)


class Inbox(models.Model):
    """A recipient's stream: the last number given. Its row's lock makes numbers dense and commits ordered."""

    kind = models.CharField(max_length=16)
    owner = models.CharField(max_length=64)
    last_number = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "owner"], name="an_actor_has_one_inbox")]

    def __str__(self) -> str:
        return f"{self.kind}:{self.owner}"


class Delivery(models.Model):
    """One recipient's copy of a message: a number of its inbox, and a state of its own."""

    pk = models.CompositePrimaryKey("inbox_id", "number")
    inbox = models.ForeignKey(Inbox, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    number = models.BigIntegerField()
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    project_id = models.UUIDField()
    run_id = models.UUIDField(null=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    """How often it was handed out; more than once is a redelivery."""
    due_at = models.DateTimeField()
    """From when on it may be handed out."""
    leased_until = models.DateTimeField(null=True)
    lease_key = models.CharField(max_length=KEY_CHARS, null=True)
    """The receiver's own word for the asking that leased it: asked for again, it is the same lease."""
    told_at = models.DateTimeField(null=True)
    """When it was put to the recipient's session, or had a run started for it. It is open all the same.

    What is left to the inbox, as broadcasts are, has it from the beginning.
    """
    told_run = models.UUIDField(null=True)
    """The run to which it was put, until that is over and was looked after."""
    tellings = models.PositiveSmallIntegerField(default=0, db_default=0)
    """How often it was put to a run."""
    settled_at = models.DateTimeField(null=True)
    """When it was acked, or was given up. Null: it is open."""
    reason = models.CharField(max_length=200, blank=True, default="")
    """Why it is dead, or why it was not taken the last time."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["message", "inbox"], name="a_recipient_has_one_copy"),
            models.CheckConstraint(
                condition=Q(state="leased", leased_until__isnull=False) | ~Q(state="leased") & Q(leased_until=None),
                name="a_lease_has_an_end",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["acked", "dead"], settled_at__isnull=False)
                | Q(state__in=["queued", "leased"], settled_at=None),
                name="what_is_settled_says_when",
            ),
        ]
        indexes = [
            models.Index(fields=["inbox", "number"], condition=Q(settled_at=None), name="open_deliveries"),
            models.Index(
                fields=["inbox", "number"], condition=Q(settled_at=None, told_at=None), name="untold_deliveries"
            ),
            models.Index(fields=["told_run"], condition=Q(told_run__isnull=False), name="deliveries_told_to_a_run"),
            models.Index(fields=["inbox", "run_id", "number"], name="deliveries_of_a_run"),
            models.Index(fields=["leased_until"], condition=Q(leased_until__isnull=False), name="leased_deliveries"),
            models.Index(
                fields=["inbox", "lease_key"],
                condition=Q(lease_key__isnull=False, leased_until__isnull=False),
                name="deliveries_of_a_lease",
            ),
            models.Index(fields=["project_id", "message"], condition=Q(state="dead"), name="dead_letters"),
        ]
        ordering = ("inbox", "number")
