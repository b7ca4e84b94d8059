"""Reading inboxes: pages by number, whose cost depends on their length and not on the inbox's."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import Min, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from .addresses import Address
from .limits import PENDING_COUNTED
from .models import Delivery, Inbox
from .states import State


@dataclass(frozen=True)
class Mail:
    """One recipient's copy of a message."""

    number: int
    message_id: UUID
    project_id: UUID
    run_id: UUID | None
    sender: Address
    recipient: Address
    audience: str
    subject: str
    kind: str
    payload_text: str
    reply_to: UUID | None
    hop_count: int
    dedupe_key: str | None
    created_at: datetime
    state: str
    attempts: int
    due_at: datetime
    leased_until: datetime | None
    settled_at: datetime | None
    reason: str

    @cached_property
    def payload(self) -> Any:
        return json.loads(self.payload_text)

    @property
    def redelivered(self) -> int:
        """How often it had been handed out before this time."""
        return max(0, self.attempts - 1)


@dataclass(frozen=True, slots=True)
class Page:
    """Part of an inbox. Nothing is left to read once ``next`` is ``last_number``."""

    results: list[Mail]
    next: int
    """What to send as ``after`` next."""
    last_number: int


_APART_MOST: Final = 200
"""Recipients in one statement."""
_COLUMNS: Final = (
    "number", "message_id", "project_id", "run_id", "message__sender_kind", "message__sender_id", "inbox__kind",
    "inbox__owner", "message__audience", "message__subject", "message__kind", "message__payload",
    "message__reply_to_id", "message__hop_count", "message__dedupe_key", "message__created_at", "state", "attempts",
    "due_at", "leased_until", "settled_at", "reason",
)  # fmt: skip


def mails(deliveries: "QuerySet[Delivery]") -> list[Mail]:
    """One query, in the order of the query set."""
    return [_mail(row) for row in deliveries.values_list(*_COLUMNS)]


def _mail(row: Iterable[Any]) -> Mail:
    number, message, project, run, sender_kind, sender_id, kind, owner, *rest = row
    return Mail(number, message, project, run, Address(sender_kind, sender_id), Address(kind, owner), *rest)


def mails_of(keys: Sequence[tuple[int, int]]) -> list[Mail]:
    """The deliveries with these (inbox, number), all of one inbox, in order."""
    if not keys:
        return []
    mine = Delivery.objects.filter(inbox_id=keys[0][0], number__in=[number for _, number in keys])
    return mails(mine.order_by("number"))


def deliveries_to(
    recipient: Address,
    run_id: UUID | None = None,
    projects: Collection[UUID] | None = None,
    apart: Collection[UUID] = (),
) -> "QuerySet[Delivery]":
    """All of a recipient's, or those of a run and of some projects, but for those of the runs ``apart``."""
    found = Delivery.objects.filter(inbox__kind=recipient.kind, inbox__owner=recipient.id)
    if run_id is not None:
        found = found.filter(run_id=run_id)
    if apart:
        found = found.filter(Q(run_id=None) | ~Q(run_id__in=apart))
    return found if projects is None else found.filter(project_id__in=projects)


def untold_mails(
    recipients: Collection[Address],
    now: datetime,
    limit: int,
    each: int,
    apart: Mapping[str, Collection[UUID]] | None = None,
) -> list[Mail]:
    """What came to these, of one kind, by name and was not put to them yet: the oldest ``each`` of each inbox.

    ``apart``: by recipient's id, runs whose mail is left out.
    """
    kinds = {recipient.kind for recipient in recipients}
    if not kinds:
        return []
    owners = [recipient.id for recipient in recipients]
    found = Delivery.objects.filter(inbox__kind__in=kinds, inbox__owner__in=owners, settled_at=None, told_at=None)
    for owner, runs in islice((apart or {}).items(), _APART_MOST):
        found = found.filter(~Q(inbox__owner=owner, run_id__in=runs))
    direct = found.filter(state=State.QUEUED, due_at__lte=now, message__audience="")
    place = Window(RowNumber(), partition_by="inbox", order_by="number")
    return mails(direct.annotate(place=place).filter(place__lte=each).order_by("inbox", "number")[:limit])


def told_runs(limit: int) -> set[UUID]:
    """Runs to which mail was put, and whose end was not looked after yet."""
    runs = Delivery.objects.filter(told_run__isnull=False).order_by("told_run").values_list("told_run", flat=True)
    return {run for run in runs.distinct()[:limit] if run}


def last_number(recipient: Address) -> int:
    """Of an inbox; 0 where nothing ever came."""
    last = Inbox.objects.filter(kind=recipient.kind, owner=recipient.id).values_list("last_number", flat=True).first()
    return last or 0


def count_open(
    recipient: Address,
    run_id: UUID | None = None,
    projects: Collection[UUID] | None = None,
    apart: Collection[UUID] = (),
) -> int:
    """How many are neither acked nor given up, counted up to ``PENDING_COUNTED``."""
    return (
        deliveries_to(recipient, run_id, projects, apart).filter(settled_at=None).order_by()[:PENDING_COUNTED].count()
    )


def next_due(
    recipient: Address,
    run_id: UUID | None = None,
    projects: Collection[UUID] | None = None,
    apart: Collection[UUID] = (),
) -> datetime | None:
    """When something may be handed out to the recipient: now, or at the earliest; None if nothing is open."""
    waiting = deliveries_to(recipient, run_id, projects, apart).filter(settled_at=None)
    now = timezone.now()
    if waiting.filter(state=State.QUEUED, due_at__lte=now).exists():  # at once, however much is open
        return now
    dues = waiting.filter(state=State.QUEUED).aggregate(at=Min("due_at"))["at"]
    ends = waiting.filter(state=State.LEASED).aggregate(at=Min("leased_until"))["at"]
    return min((at for at in (dues, ends) if at is not None), default=None)


def lock_inboxes(addresses: Collection[Address]) -> dict[Address, int]:
    """The inboxes of those that ever got anything, locked until the transaction ends, as ``take_numbers`` orders them.

    Whoever moves deliveries of more than one inbox, or in an order of its own, has their inboxes first: so no two wait
    for each other.
    """
    if not addresses:
        return {}
    with connection.cursor() as cursor:
        is_locked = connection.features.has_select_for_update
        order = ' ORDER BY kind COLLATE "C", owner COLLATE "C" FOR NO KEY UPDATE' if is_locked else ""
        places = ", ".join(["(%s, %s)"] * len(addresses))
        cursor.execute(
            f"SELECT kind, owner, id FROM mailbox_inbox WHERE (kind, owner) IN (VALUES {places}){order}",  # noqa: S608
            [value for address in addresses for value in (address.kind, address.id)],
        )
        return {Address(kind, owner): pk for kind, owner, pk in cursor.fetchall()}


def last_numbers(addresses: Collection[Address]) -> dict[Address, int]:
    """The last number of each inbox that there is, in one query per kind."""
    found: dict[Address, int] = {}
    for kind in {address.kind for address in addresses}:
        owners = [address.id for address in addresses if address.kind == kind]
        rows = Inbox.objects.filter(kind=kind, owner__in=owners).values_list("owner", "last_number")
        found.update((Address(kind, owner), last) for owner, last in rows)
    return found
