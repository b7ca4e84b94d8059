"""Drafts into messages and deliveries, many at a time."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from audit.bell import ring_on_commit
from nodes.contract.errors import HubError, NotFound
from nodes.contract.ids import new_id

from .addresses import Address
from .errors import DedupeConflict, HopLimit
from .models import Delivery, Message
from .states import State
from .tables import insert_rows


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be sent, checked as far as it can be without the database. ``hop_count`` is the least it has."""

    project_id: UUID
    sender: Address
    to: tuple[Address, ...]
    payload: str
    subject: str
    kind: str
    audience: str
    reply_to: UUID | None
    dedupe_key: str | None
    run_id: UUID | None
    hop_count: int
    most_hops: int
    id: UUID = field(default_factory=new_id)

    @property
    def key(self) -> tuple[str, str, str, UUID]:
        """What it must not share with another message. Its own id, where it has no ``dedupe_key``."""
        return (self.dedupe_key or f" {self.id}", self.sender.id, self.sender.kind, self.project_id)

    @property
    def digest(self) -> str:
        """Of what the sender said. A broadcast's recipients may change between two attempts: its audience counts."""
        to = self.audience or sorted(map(str, self.to))
        said = [to, self.subject, self.kind, self.payload, str(self.reply_to or ""), str(self.run_id or "")]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


Numbered = tuple[tuple[Address, int], ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is stored. ``created`` is False where the same ``dedupe_key`` had said the same before."""

    message_id: UUID
    created: bool
    hop_count: int
    created_at: datetime
    deliveries: Numbered
    """Each recipient, and the number in their inbox."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Of a message that is stored: to whom it went, and in which words."""

    message_id: UUID
    audience: str
    to: tuple[Address, ...]


_MESSAGE: Final = (
    "id", "project", "run_id", "sender_kind", "sender_id", "audience", "subject", "kind", "payload", "reply_to_id",
    "hop_count", "dedupe_key", "digest", "created_at",
)  # fmt: skip
_DELIVERY: Final = (
    "inbox",
    "number",
    "message",
    "project_id",
    "run_id",
    "state",
    "attempts",
    "due_at",
    "told_at",
    "reason",
)


def write_drafts(drafts: Sequence[Draft]) -> list[Sent | HubError]:
    """Store all within the transaction at hand, in order; a draft that does not fit gets its refusal instead."""
    kept = _read_kept(drafts)
    parents = _Parents(drafts)
    now = timezone.now()
    fresh: list[tuple[Draft, UUID | None, Sent]] = []
    answers: list[Sent | HubError] = []
    for draft in drafts:
        try:
            digest, sent = kept.get(draft.key, ("", None))
            if sent is None:
                sent = Sent(draft.id, True, parents.hops_of(draft), now, ())
                fresh.append((draft, draft.run_id or parents.run_of(draft), sent))
                kept[draft.key] = (draft.digest, replace(sent, created=False))
            elif digest != draft.digest:
                raise DedupeConflict(dedupe_key=draft.dedupe_key, message_id=str(sent.message_id))
            answers.append(sent)
        except HubError as error:
            answers.append(error)
    numbers = _store(fresh, now)
    return [
        replace(answer, deliveries=numbers[answer.message_id])
        if isinstance(answer, Sent) and answer.message_id in numbers
        else answer
        for answer in answers
    ]


def _store(fresh: Sequence[tuple[Draft, UUID | None, Sent]], now: datetime) -> dict[UUID, Numbered]:
    """Write the rows; each message's recipients with the numbers they got."""
    if not fresh:
        return {}
    counts = Counter(address for draft, _, _ in fresh for address in draft.to)
    inboxes = take_numbers(counts)
    taken = {address: last - counts[address] for address, (_, last) in inboxes.items()}
    numbers: dict[UUID, Numbered] = {}
    messages, deliveries = [], []
    for draft, run_id, sent in fresh:
        taken.update({address: taken[address] + 1 for address in draft.to})
        numbers[draft.id] = tuple((address, taken[address]) for address in draft.to)
        messages.append((
            draft.id, draft.project_id, run_id, draft.sender.kind, draft.sender.id, draft.audience,
            draft.subject, draft.kind, draft.payload, draft.reply_to, sent.hop_count, draft.dedupe_key,
            draft.digest, now,
        ))  # fmt: skip
        told_at = now if draft.audience else None  # a broadcast is put to nobody's session
        deliveries += [
            (inboxes[address][0], number, draft.id, draft.project_id, run_id, State.QUEUED, 0, now, told_at, "")
            for address, number in numbers[draft.id]
        ]
    insert_rows(Message, _MESSAGE, messages)
    insert_rows(Delivery, _DELIVERY, deliveries)
    return numbers


def take_numbers(counts: Mapping[Address, int]) -> dict[Address, tuple[int, int]]:
    """Advance each inbox by its count, in one statement and in order; its id and its last number. Rings on commit."""
    if not connection.in_atomic_block:
        raise TransactionManagementError("Numbers of an inbox are taken within the transaction that uses them.")
    addresses = sorted(counts)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO mailbox_inbox (kind, owner, last_number) VALUES {', '.join(['(%s, %s, %s)'] * len(addresses))} "  # noqa: E501, S608
            "ON CONFLICT (kind, owner) DO UPDATE SET last_number = mailbox_inbox.last_number + excluded.last_number "
            "RETURNING kind, owner, id, last_number",
            [value for address in addresses for value in (address.kind, address.id, counts[address])],
        )
        inboxes = {Address(kind, owner): (id_, last) for kind, owner, id_, last in cursor.fetchall()}
    for address, (_, last) in inboxes.items():
        ring_on_commit(address.stream, last)
    return inboxes


def _read_kept(drafts: Sequence[Draft]) -> dict[tuple[str, str, str, UUID], tuple[str, Sent]]:
    """What was sent before with one of these keys: its digest, and what its sender was answered."""
    keys = {draft.dedupe_key for draft in drafts if draft.dedupe_key}
    if not keys:
        return {}
    wanted = {draft.key for draft in drafts}
    senders = {draft.sender.id for draft in drafts}
    found = [
        message
        for message in Message.objects.filter(dedupe_key__in=keys, sender_id__in=senders).defer("payload")
        if (message.dedupe_key, message.sender_id, message.sender_kind, message.project_id) in wanted
    ]
    recipients: dict[UUID, list[tuple[Address, int]]] = {}
    if found:
        rows = Delivery.objects.filter(message__in=[message.pk for message in found]).order_by("number")
        for message_id, kind, owner, number in rows.values_list("message_id", "inbox__kind", "inbox__owner", "number"):
            recipients.setdefault(message_id, []).append((Address(kind, owner), number))
    return {
        (message.dedupe_key or "", message.sender_id, message.sender_kind, message.project_id): (
            message.digest,
            Sent(message.pk, False, message.hop_count, message.created_at, tuple(recipients.get(message.pk, ()))),
        )
        for message in found
    }


def find_sent(project_id: UUID, sender: Address, dedupe_key: str) -> Kept | None:
    """What the sender sent under this key. One query."""
    copies = Delivery.objects.filter(
        message__dedupe_key=dedupe_key, message__sender_id=sender.id, message__sender_kind=sender.kind,
        message__project=project_id,
    )  # fmt: skip
    rows = list(copies.values_list("message_id", "message__audience", "inbox__kind", "inbox__owner"))
    return Kept(rows[0][0], rows[0][1], tuple(Address(kind, owner) for *_, kind, owner in rows)) if rows else None


class _Parents:
    """The messages that drafts answer. One answers what one sent or got, in the same project."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        wanted = {draft.reply_to for draft in drafts if draft.reply_to}
        self._messages: dict[UUID, Message] = {}
        self._recipients: set[tuple[UUID, str, str]] = set()
        if wanted:  # most answer nothing
            self._messages = Message.objects.defer("payload").in_bulk(list(wanted))
            got = Delivery.objects.filter(message__in=list(self._messages))
            self._recipients = set(got.values_list("message_id", "inbox__kind", "inbox__owner"))

    def hops_of(self, draft: Draft) -> int:
        """How often it was passed on. Raises ``NotFound`` and ``HopLimit``."""
        hops = draft.hop_count
        if draft.reply_to is not None:
            parent = self._messages.get(draft.reply_to)
            sender = draft.sender
            if parent is None or parent.project_id != draft.project_id or not self._is_party(parent, sender):
                raise NotFound("There is no such message to reply to.", reply_to=str(draft.reply_to))
            hops = max(hops, parent.hop_count + 1)
        if hops > draft.most_hops:
            raise HopLimit(hop_count=hops, limit=draft.most_hops)
        return hops

    def run_of(self, draft: Draft) -> UUID | None:
        """An answer belongs to the run to which belongs what it answers, if it does not say another."""
        parent = self._messages.get(draft.reply_to) if draft.reply_to else None
        return parent.run_id if parent else None

    def _is_party(self, message: Message, who: Address) -> bool:
        return (message.sender_kind, message.sender_id) == (who.kind, who.id) or (
            (message.pk, who.kind, who.id) in self._recipients or who.kind == "system"
        )
