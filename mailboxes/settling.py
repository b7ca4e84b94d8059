"""Moves of deliveries, many at a time: leased, acked, queued again, given up."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.utils import timezone

from audit.many import execute_many
from nodes.contract.errors import HubError

from .addresses import Address
from .limits import ATTEMPTS, BACKOFF_SECONDS, BACKOFF_SECONDS_MOST, PAGE_CHARS, PAYLOAD_BYTES
from .models import Delivery
from .reading import leased_under, lock_inboxes, those_of
from .states import OPEN, State
from .tables import maybe, places, run_query, time_of_db, time_to_db, uuid_of_db, uuid_to_db

MessageId = UUID | int
"""A message's id, or its number in the recipient's inbox."""
NamedId = MessageId | str
"""As a caller named it: a text is neither, and nothing is found for it."""


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
    key: str | None = None
    """The receiver's word for this asking, where it may have to ask again since the answer was lost."""


def write_claims(claims: Sequence[Claim]) -> list[list[tuple[int, int]] | HubError]:
    """Lease to each what is due, lowest number first: (inbox, number) of each delivery.

    What a ``key`` has leased already is handed out to it once more: the same lease, and no redelivery.

    On PostgreSQL a second claim on the same inbox waits for the first: to skip what is locked there would hand out
    a later message before an earlier one, should the first come to nothing.
    """
    boxes = lock_inboxes({claim.recipient for claim in claims})
    now = timezone.now()
    taken: dict[int, set[int]] = defaultdict(set)
    held: dict[tuple[int, str], list[int]] = {}
    leases: list[tuple[Any, ...]] = []
    answers: list[list[tuple[int, int]] | HubError] = []
    with connection.cursor() as cursor:
        for claim in claims:
            box = boxes.get(claim.recipient)
            if box is None:
                answers.append([])
                continue
            numbers = _held(box, claim.key, now, held)
            if not numbers:
                numbers = _due(cursor, box, claim, now, taken[box])
                until = connection.ops.adapt_datetimefield_value(now + timedelta(seconds=claim.lease_seconds))
                leases += [(str(State.LEASED), until, claim.key, box, number) for number in numbers]
                if claim.key is not None:
                    held[box, claim.key] = numbers
            answers.append([(box, number) for number in numbers])
        if leases:
            execute_many(
                cursor,
                "UPDATE mailbox_delivery SET state = %s, leased_until = %s, lease_key = %s, attempts = attempts + 1 "
                "WHERE inbox_id = %s AND number = %s",
                leases,
            )
    return answers


def _held(box: int, key: str | None, now: datetime, held: Mapping[tuple[int, str], list[int]]) -> list[int]:
    """The numbers that were leased under ``key``, in this transaction or before it."""
    if key is None:
        return []
    return held.get((box, key)) or list(leased_under(box, key, now).values_list("number", flat=True))


def _due(cursor: Any, box: int, claim: Claim, now: datetime, taken: set[int]) -> list[int]:
    """The numbers that a claim gets, added to what was ``taken`` of the inbox before in this transaction.

    Fewer than it may have where what is due is large: ``PAGE_CHARS``.
    """
    where, values = those_of(claim.run_id, claim.projects, claim.apart)
    where = ["d.inbox_id = %s", "d.settled_at IS NULL", "d.state = %s", "d.due_at <= %s", *where]
    values = [box, str(State.QUEUED), time_to_db(now), *values]
    lock = " FOR NO KEY UPDATE OF d" if connection.features.has_select_for_update else ""
    may_be_large = claim.limit * PAYLOAD_BYTES > PAGE_CHARS
    chars, joined = (
        ("length(m.payload)", "JOIN mailbox_message m ON m.id = d.message_id") if may_be_large else ("0", "")
    )
    cursor.execute(
        f"SELECT d.number, {chars} FROM mailbox_delivery d {joined} WHERE {' AND '.join(where)} "  # noqa: S608
        f"ORDER BY d.number LIMIT %s{lock}",
        [*values, claim.limit + len(taken)],
    )
    numbers: list[int] = []
    size = 0
    for number, length in cursor.fetchall():
        if number in taken:
            continue
        numbers.append(number)
        size += length
        if len(numbers) == claim.limit or size >= PAGE_CHARS:
            break
    taken.update(numbers)
    return numbers


@dataclass(frozen=True, slots=True)
class Settling:
    """A recipient has dealt with these."""

    recipient: Address
    message_ids: tuple[NamedId, ...]
    run_id: UUID | None = None
    projects: frozenset[UUID] | None = None
    apart: frozenset[UUID] = frozenset()
    """Runs whose mail is left to them."""

    def covers(self, row: "_Row") -> bool:
        """Whether a delivery of the recipient's is among those that are meant."""
        is_here = self.run_id is None or row.run == self.run_id
        return is_here and row.run not in self.apart and (self.projects is None or row.project in self.projects)


@dataclass(frozen=True, slots=True)
class Acked:
    """What came of one ``ack``. ``state`` is what the delivery is now; empty, with a ``code``, if there is none."""

    id: NamedId
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
            execute_many(
                cursor,
                "UPDATE mailbox_delivery SET state = %s, settled_at = %s, leased_until = NULL, reason = '' "
                "WHERE inbox_id = %s AND number = %s",
                [(str(State.ACKED), at_db, *key) for key in sorted(moved)],
            )
    return answers


def _read_named(settlings: Sequence[Settling], boxes: Mapping[Address, int]) -> dict[tuple[int, NamedId], _Row]:
    """The deliveries that are named, by inbox and both kinds of id; locked, so that what they say holds."""
    wanted: list[str] = []
    values: list[Any] = []
    for settling in settlings:
        if (box := boxes.get(settling.recipient)) is None:
            continue
        numbers = [id_ for id_ in settling.message_ids if isinstance(id_, int) and 0 < id_ < 2**63]
        messages = [uuid_to_db(id_) for id_ in settling.message_ids if isinstance(id_, UUID)]
        for column, ids in (("number", numbers), ("message_id", messages)):
            if ids:
                wanted.append(f"inbox_id = %s AND {column} IN ({places(ids)})")
                values += [box, *ids]
    rows: dict[tuple[int, NamedId], _Row] = {}
    if not wanted:
        return rows
    lock = " FOR NO KEY UPDATE" if connection.features.has_select_for_update else ""
    found = run_query(
        "SELECT inbox_id, number, message_id, state, settled_at, run_id, project_id FROM mailbox_delivery "  # noqa: S608
        f"WHERE {' OR '.join(wanted)} ORDER BY inbox_id, number{lock}",
        values,
    )
    for box, number, message, state, settled_at, run, project in found:
        row = _Row(
            box, number, uuid_of_db(message), state, maybe(time_of_db, settled_at), maybe(uuid_of_db, run),
            uuid_of_db(project),
        )  # fmt: skip
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
    due_at: datetime | None = None
    """When it may be handed out again, where whoever had it knows better than ``backoff``."""


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
            due = each.due_at or now + backoff(each.attempts)
            changed += leased.update(state=State.QUEUED, leased_until=None, due_at=due, reason=each.reason[:200])
    return changed
