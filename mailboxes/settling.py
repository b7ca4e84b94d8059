"""Moves of deliveries, many at a time: leased, acked, queued again, given up."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import F
from django.utils import timezone

from nodes.contract.errors import HubError

from .addresses import Address
from .limits import ATTEMPTS, BACKOFF_SECONDS, BACKOFF_SECONDS_MOST
from .models import Delivery
from .reading import deliveries_to
from .states import State, sources

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
    return [_claim(claim, timezone.now()) for claim in claims]


def _claim(claim: Claim, now: datetime) -> list[tuple[int, int]]:
    due = deliveries_to(claim.recipient, claim.run_id, claim.projects, claim.apart)
    due = due.filter(settled_at=None, state=State.QUEUED, due_at__lte=now).order_by("number")
    if connection.features.has_select_for_update_of:
        due = due.select_for_update(of=("self",), no_key=True)
    keys: list[tuple[int, int]] = list(due.values_list("inbox_id", "number")[: claim.limit])
    if keys:
        mine = Delivery.objects.filter(inbox_id=keys[0][0], number__in=[number for _, number in keys])
        mine.filter(state=State.QUEUED).update(
            state=State.LEASED,
            attempts=F("attempts") + 1,
            leased_until=now + timedelta(seconds=claim.lease_seconds),
        )
    return keys


@dataclass(frozen=True, slots=True)
class Settling:
    """A recipient has dealt with these."""

    recipient: Address
    message_ids: tuple[MessageId, ...]
    run_id: UUID | None = None
    projects: frozenset[UUID] | None = None


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


def write_acks(settlings: Sequence[Settling]) -> list[list[Acked] | HubError]:
    """Ack what each names, in order; the same id twice changes something once."""
    return [_ack(settling, timezone.now()) for settling in settlings]


def _ack(settling: Settling, now: datetime) -> list[Acked]:
    numbers = {id_ for id_ in settling.message_ids if isinstance(id_, int)}
    mine = deliveries_to(settling.recipient, settling.run_id, settling.projects)
    rows = list(mine.filter(number__in=numbers).values_list(*_ROW)) if numbers else []
    if ids := {id_ for id_ in settling.message_ids if isinstance(id_, UUID)}:
        rows += mine.filter(message__in=ids).values_list(*_ROW)
    found: dict[MessageId, tuple[int, int, UUID]] = {}
    for inbox, number, message in rows:
        found[number] = found[message] = (inbox, number, message)
    keys = sorted({(inbox, number) for inbox, number, _ in rows})
    moved: set[int] = set()
    if keys:
        mine = Delivery.objects.filter(inbox_id=keys[0][0], number__in=[number for _, number in keys])
        open_ = mine.filter(state__in=sources(State.ACKED)).order_by("number")
        if connection.features.has_select_for_update:
            open_ = open_.select_for_update(no_key=True)
        moved = set(open_.values_list("number", flat=True))
        mine.filter(number__in=moved).update(state=State.ACKED, settled_at=now, leased_until=None, reason="")
    now_are = {
        number: (state, settled_at)
        for number, state, settled_at in (mine.values_list("number", "state", "settled_at") if keys else ())
    }
    answers = []
    for id_ in settling.message_ids:
        if id_ not in found:
            answers.append(Acked(id_, changed=False, code="not_found"))
            continue
        _, number, message = found[id_]
        state, at = now_are[number]
        answers.append(Acked(id_, number in moved, state, message, number, at if state == State.ACKED else None))
        moved.discard(number)
    return answers


_ROW: Final = ("inbox_id", "number", "message_id")


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
