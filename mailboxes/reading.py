"""Reading inboxes: pages by number, whose cost depends on their length and not on the inbox's."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from .addresses import Address
from .limits import PENDING_COUNTED
from .models import Delivery, Inbox, Message
from .states import State
from .tables import maybe, places, run_query, time_of_db, time_to_db, uuid_of_db, uuid_to_db


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


def copies(message: Message, deliveries: "QuerySet[Delivery]", limit: int) -> list[Mail]:
    """Those of the deliveries that are this message's, in one query; what it says was read with it, once for all."""
    said = {name: getattr(message, name.partition("__")[2]) for name in _COLUMNS if name.startswith("message__")}
    own = deliveries.filter(message=message).values(*(name for name in _COLUMNS if name not in said))
    return [_mail((row | said)[name] for name in _COLUMNS) for row in own[:limit]]


def _mail(row: Iterable[Any]) -> Mail:
    number, message, project, run, sender_kind, sender_id, kind, owner, *rest = row
    return Mail(number, message, project, run, Address(sender_kind, sender_id), Address(kind, owner), *rest)


_SELECT: Final = (
    "SELECT d.number, d.message_id, d.project_id, d.run_id, m.sender_kind, m.sender_id, i.kind, i.owner, m.audience, "
    "m.subject, m.kind, m.payload, m.reply_to_id, m.hop_count, m.dedupe_key, m.created_at, d.state, d.attempts, "
    "d.due_at, d.leased_until, d.settled_at, d.reason FROM mailbox_delivery d "
    "JOIN mailbox_message m ON m.id = d.message_id JOIN mailbox_inbox i ON i.id = d.inbox_id"
)
"""``_COLUMNS``, in the same order."""
_UUIDS: Final = tuple(map(_COLUMNS.index, ("message_id", "project_id", "run_id", "message__reply_to_id")))
_TIMES: Final = tuple(map(_COLUMNS.index, ("message__created_at", "due_at", "leased_until", "settled_at")))


def read_mails(where: Sequence[str], values: Sequence[Any], limit: int, most_chars: int | None = None) -> list[Mail]:
    """Those of the deliveries ``d`` for which all of ``where`` holds, in the order of their numbers.

    Fewer than ``limit`` where their payloads have ``most_chars``: the one with which they do is the last.
    """
    conditions = " AND ".join(where)
    found: list[Mail] = []
    size = 0
    for row in run_query(f"{_SELECT} WHERE {conditions} ORDER BY d.number LIMIT %s", [*values, limit]):
        told = list(row)
        for place in _UUIDS:
            told[place] = maybe(uuid_of_db, told[place])
        for place in _TIMES:
            told[place] = maybe(time_of_db, told[place])
        found.append(_mail(told))
        size += len(found[-1].payload_text)
        if most_chars is not None and size >= most_chars:
            break
    return found


def mails_of(keys: Sequence[tuple[int, int]]) -> list[Mail]:
    """The deliveries with these (inbox, number), all of one inbox, in order."""
    if not keys:
        return []
    numbers = [number for _, number in keys]
    return read_mails(["d.inbox_id = %s", f"d.number IN ({places(numbers)})"], [keys[0][0], *numbers], len(numbers))


def deliveries_to(recipient: Address, projects: Collection[UUID] | None = None) -> "QuerySet[Delivery]":
    """All of a recipient's, or those of some projects."""
    found = Delivery.objects.filter(inbox__kind=recipient.kind, inbox__owner=recipient.id)
    return found if projects is None else found.filter(project_id__in=projects)


Conditions = tuple[list[str], list[Any]]
"""What holds of the deliveries ``d``, and the values in it."""


def those_of(
    run_id: UUID | None = None, projects: Collection[UUID] | None = None, apart: Collection[UUID] = ()
) -> Conditions:
    """Those of a run and of some projects, but for those of the runs ``apart``."""
    where: list[str] = []
    values: list[Any] = []
    if run_id is not None:
        where.append("d.run_id = %s")
        values.append(uuid_to_db(run_id))
    if projects is not None:
        where.append(f"d.project_id IN ({places(list(projects))})")
        values += map(uuid_to_db, projects)
    if apart:
        where.append(f"(d.run_id IS NULL OR d.run_id NOT IN ({places(list(apart))}))")
        values += map(uuid_to_db, apart)
    return where, values


def _open(
    recipient: Address, run_id: UUID | None, projects: Collection[UUID] | None, apart: Collection[UUID]
) -> Conditions:
    """A recipient's that are neither acked nor given up."""
    where, values = those_of(run_id, projects, apart)
    mine = "d.inbox_id = (SELECT id FROM mailbox_inbox WHERE kind = %s AND owner = %s)"
    return [mine, "d.settled_at IS NULL", *where], [recipient.kind, recipient.id, *values]


def is_due(
    recipient: Address,
    run_id: UUID | None = None,
    projects: Collection[UUID] | None = None,
    apart: Collection[UUID] = (),
) -> bool:
    """Whether something may be handed out to the recipient now."""
    where, values = _open(recipient, run_id, projects, apart)
    conditions = " AND ".join([*where, "d.state = %s", "d.due_at <= %s"])
    now = time_to_db(timezone.now())
    statement = f"SELECT 1 FROM mailbox_delivery d WHERE {conditions} LIMIT 1"  # noqa: S608
    return bool(run_query(statement, [*values, str(State.QUEUED), now]))


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


class LetterPlace(NamedTuple):
    """Of a copy among those that were given up: after it the next page begins."""

    message_id: UUID
    kind: str
    owner: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``str`` of it. Raises ``ValueError``."""
        message_id, kind, owner = text.split(".", 2)
        return cls(UUID(message_id), kind, owner)

    @classmethod
    def of(cls, mail: Mail) -> Self:
        return cls(mail.message_id, mail.recipient.kind, mail.recipient.id)

    def __str__(self) -> str:
        return ".".join(map(str, self))


def dead_letters(projects: Collection[UUID], limit: int, after: LetterPlace | None = None) -> list[Mail]:
    """Copies of the projects' messages that were given up, those of the newest message first."""
    found = Delivery.objects.filter(project_id__in=projects, state=State.DEAD)
    if after:
        is_later_copy = Q(inbox__kind__gt=after.kind) | Q(inbox__kind=after.kind, inbox__owner__gt=after.owner)
        found = found.filter(Q(message_id__lt=after.message_id) | Q(message_id=after.message_id) & is_later_copy)
    return mails(found.order_by("-message_id", "inbox__kind", "inbox__owner")[:limit])


def told_runs(limit: int) -> set[UUID]:
    """Runs to which mail was put, and whose end was not looked after yet."""
    runs = Delivery.objects.filter(told_run__isnull=False).order_by("told_run").values_list("told_run", flat=True)
    return {run for run in runs.distinct()[:limit] if run}


def find_inbox(recipient: Address) -> tuple[int, int]:
    """Its id and its last number; twice 0 where nothing ever came."""
    rows = run_query(
        "SELECT id, last_number FROM mailbox_inbox WHERE kind = %s AND owner = %s", [recipient.kind, recipient.id]
    )
    return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)


def last_number(recipient: Address) -> int:
    """Of an inbox; 0 where nothing ever came."""
    return find_inbox(recipient)[1]


def count_open(
    recipient: Address,
    run_id: UUID | None = None,
    projects: Collection[UUID] | None = None,
    apart: Collection[UUID] = (),
) -> int:
    """How many are neither acked nor given up, counted up to ``PENDING_COUNTED``."""
    where, values = _open(recipient, run_id, projects, apart)
    found = f"SELECT 1 FROM mailbox_delivery d WHERE {' AND '.join(where)} LIMIT {PENDING_COUNTED}"  # noqa: S608
    ((count,),) = run_query(f"SELECT count(*) FROM ({found}) found", values)  # noqa: S608
    return int(count)


def next_due(
    recipient: Address,
    run_id: UUID | None = None,
    projects: Collection[UUID] | None = None,
    apart: Collection[UUID] = (),
    key: str | None = None,
) -> datetime | None:
    """When something may be handed out to the recipient: now, or at the earliest; None if nothing is open.

    What was leased under ``key`` may be at once.
    """
    now = timezone.now()
    if key is not None and leased_under(find_inbox(recipient)[0], key, now).exists():
        return now
    if is_due(recipient, run_id, projects, apart):  # at once, however much is open
        return now
    where, values = _open(recipient, run_id, projects, apart)
    at = "min(CASE WHEN d.state = %s THEN d.due_at ELSE d.leased_until END)"
    statement = f"SELECT {at} FROM mailbox_delivery d WHERE {' AND '.join(where)}"  # noqa: S608
    ((earliest,),) = run_query(statement, [str(State.QUEUED), *values])
    return maybe(time_of_db, earliest)


def leased_under(inbox_id: int, key: str, now: datetime) -> "QuerySet[Delivery]":
    """What the inbox's owner leased under this key, and still has."""
    mine = Delivery.objects.filter(inbox=inbox_id, lease_key=key, leased_until__gt=now, state=State.LEASED)
    return mine.order_by("number")


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
        pairs = ", ".join(["(%s, %s)"] * len(addresses))
        cursor.execute(
            f"SELECT kind, owner, id FROM mailbox_inbox WHERE (kind, owner) IN (VALUES {pairs}){order}",  # noqa: S608
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
