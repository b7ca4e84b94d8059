"""Moves of deliveries, many at a time: leased, acked, queued again, given up."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Q, UUIDField
from django.utils import timezone

from nodes.contract.errors import HubError

from .addresses import Address
from .limits import ATTEMPTS, BACKOFF_SECONDS, BACKOFF_SECONDS_MOST
from .models import Delivery
from .reading import lock_inboxes
from .states import OPEN, State

MessageId = UUID | int
"""A message's id, or its number in the recipient's inbox."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A recipient asks for what is due."""

    recipient: Address
    limit: int
    lease_seconds: float
    run_id: UUID | None = None
    projects: frozenset[UUID] | None = None
    apart: frozenset[UUID] = frozenset()
    """Runs whose mail is left to them."""


def write_claims(claims: Sequence[Claim]) -> list[list[tuple[int, int]] | HubError]:
    """Lease to each what is due, lowest number first: (inbox, number) of each delivery.

    On PostgreSQL a second claim on the same inbox waits for the first: to skip what is locked there would hand out
    a later message before an earlier one, should the first come to nothing.
    """
    boxes = lock_inboxes({claim.recipient for claim in claims})
    now = timezone.now()
    taken: dict[int, set[int]] = defaultdict(set)
    leases: list[tuple[Any, ...]] = []
    answers: list[list[tuple[int, int]] | HubError] = []
    with connection.cursor() as cursor:
        for claim in claims:
            box = boxes.get(claim.recipient)
            numbers = [] if box is None else _due(cursor, box, claim, now, taken[box])
            until = connection.ops.adapt_datetimefield_value(now + timedelta(seconds=claim.lease_seconds))
            leases += [(str(State.LEASED), until, box, number) for number in numbers]
            answers.append([(box or 0, number) for number in numbers])
        if leases:
            cursor.executemany(
                "UPDATE mailbox_delivery SET state = %s, leased_until = %s, attempts = attempts + 1 "
                "WHERE inbox_id = %s AND number = %s",
                leases,
            )
    return answers


def _due(cursor: Any, box: int, claim: Claim, now: datetime, taken: set[int]) -> list[int]:
    """The numbers that a claim gets, added to what was ``taken`` of the inbox before in this transaction."""
    to_db = UUIDField().get_db_prep_value
    where, values = ["inbox_id = %s", "settled_at IS NULL", "state = %s", "due_at <= %s"], [box, str(State.QUEUED)]
    values.append(connection.ops.adapt_datetimefield_value(now))
    if claim.run_id is not None:
        where.append("run_id = %s")
        values.append(to_db(claim.run_id, connection))
    for column, ids in (("project_id", claim.projects), ("run_id", claim.apart or None)):
        if ids is None:
            continue
        places = ", ".join(["%s"] * len(ids)) or "NULL"
        where.append(
            f"project_id IN ({places})" if column == "project_id" else f"(run_id IS NULL OR run_id NOT IN ({places}))"
        )
        values += [to_db(each, connection) for each in ids]
    lock = " FOR NO KEY UPDATE" if connection.features.has_select_for_update else ""
    cursor.execute(
        f"SELECT number FROM mailbox_delivery WHERE {' AND '.join(where)} ORDER BY number LIMIT %s{lock}",  # noqa: S608
        [*values, claim.limit + len(taken)],
    )
    numbers = [number for (number,) in cursor.fetchall() if number not in taken][: claim.limit]
    taken.update(numbers)
    return numbers


@dataclass(frozen=True, slots=True)
class Settling:
    """A recipient has dealt with these."""

    recipient: Address
    message_ids: tuple[MessageId, ...]
    run_id: UUID | None = None
    projects: frozenset[UUID] | None = None

    def covers(self, row: "_Row") -> bool:
        """Whether a delivery of the recipient's is among those that are meant."""
        is_here = self.run_id is None or row.run == self.run_id
        return is_here and (self.projects is None or row.project in self.projects)


@dataclass(frozen=True, slots=True)
class Acked:
    """What came of one ``ack``. ``state`` is what the delivery is now; empty, with a ``code``, if there is none."""

    id: MessageId
    changed: bool
    state: str = ""
    message_id: UUID | None = None
    number: int | None = None
    acked_at: datetime | None = None
    code: str = ""


class _Row(NamedTuple):
    inbox: int
    number: int
    message: UUID
    state: str
    settled_at: datetime | None
    run: UUID | None
    project: UUID


def write_acks(settlings: Sequence[Settling]) -> list[list[Acked] | HubError]:
    """Ack what each names, in order; the same id twice changes something once. Three statements for all of them."""
    boxes = lock_inboxes({settling.recipient for settling in settlings})
    now = timezone.now()
    rows = _read_named(settlings, boxes)
    moved: dict[tuple[int, int], _Row] = {}
    answers: list[list[Acked] | HubError] = []
    for settling in settlings:
        box = boxes.get(settling.recipient)
        answer = []
        for id_ in settling.message_ids:
            row = rows.get((box or 0, id_))
            if row is None or not settling.covers(row):
                answer.append(Acked(id_, changed=False, code="not_found"))
                continue
            key = (row.inbox, row.number)
            changes = row.state in OPEN and key not in moved
            if changes:
                moved[key] = row._replace(state=State.ACKED, settled_at=now)
            row = moved.get(key, row)
            at = row.settled_at if row.state == State.ACKED else None
            answer.append(Acked(id_, changes, str(row.state), row.message, row.number, at))
        answers.append(answer)
    if moved:
        at_db = connection.ops.adapt_datetimefield_value(now)
        with connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE mailbox_delivery SET state = %s, settled_at = %s, leased_until = NULL, reason = '' "
                "WHERE inbox_id = %s AND number = %s",
                [(str(State.ACKED), at_db, *key) for key in sorted(moved)],
            )
    return answers


def _read_named(settlings: Sequence[Settling], boxes: Mapping[Address, int]) -> dict[tuple[int, MessageId], _Row]:
    """The deliveries that are named, by inbox and both kinds of id; locked, so that what they say holds."""
    wanted = Q(pk__in=())
    for settling in settlings:
        if (box := boxes.get(settling.recipient)) is None:
            continue
        numbers = [id_ for id_ in settling.message_ids if isinstance(id_, int)]
        messages = [id_ for id_ in settling.message_ids if isinstance(id_, UUID)]
        wanted |= Q(inbox=box) & (Q(number__in=numbers) | Q(message__in=messages))
    found = Delivery.objects.filter(wanted).order_by("inbox", "number")
    if connection.features.has_select_for_update:
        found = found.select_for_update(no_key=True)
    columns = ("inbox_id", "number", "message_id", "state", "settled_at", "run_id", "project_id")
    rows: dict[tuple[int, MessageId], _Row] = {}
    for row in map(_Row._make, found.values_list(*columns)):
        rows[row.inbox, row.number] = rows[row.inbox, row.message] = row
    return rows


def backoff(attempts: int) -> timedelta:
    """How long a delivery waits that was handed out ``attempts`` times: twice as long each time, and a random part."""
    longest = min(BACKOFF_SECONDS * 2 ** max(0, attempts - 1), BACKOFF_SECONDS_MOST)
    return timedelta(seconds=longest * random.uniform(0.5, 1.0))  # noqa: S311  (spreads load, guards nothing)


@dataclass(frozen=True, slots=True)
class Return:
    """A leased delivery that was not dealt with: its lease ran out, or whoever had it says so."""

    inbox: int
    number: int
    attempts: int
    leased_until: datetime
    reason: str
    is_final: bool = False


def give_back(returns: Sequence[Return], now: datetime) -> int:
    """Queue each again after its back-off, or give it up after the last attempt. How many of them had not moved yet."""
    changed = 0
    for each in returns:
        leased = Delivery.objects.filter(
            inbox_id=each.inbox, number=each.number, state=State.LEASED, leased_until=each.leased_until
        )
        if each.is_final or each.attempts >= ATTEMPTS:
            changed += leased.update(state=State.DEAD, leased_until=None, settled_at=now, reason=each.reason[:200])
        else:
            due = now + backoff(each.attempts)
            changed += leased.update(state=State.QUEUED, leased_until=None, due_at=due, reason=each.reason[:200])
    return changed
