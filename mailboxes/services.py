"""The verbs of the mailbox. Who may use them on whose behalf is asked by the doors above.

Within a transaction, what is written is a part of it. Outside one, it is committed together with what others write at
the same time, and answered after the commit.
"""

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from audit.services import ActorLike, record
from nodes.contract.errors import Invalid, NotFound, WrongState

from .addresses import Address
from .limits import (
    AUDIENCE_CHARS,
    HOPS,
    KEY_CHARS,
    LEASE_SECONDS,
    LEASE_SECONDS_LEAST,
    LEASE_SECONDS_MOST,
    MOST_PER_PAGE,
    PAGE,
    PAGE_CHARS,
    RECIPIENTS,
    SUBJECT_CHARS,
    TELLINGS,
)
from .models import Delivery, Inbox, Message
from .payload import encode_payload
from .reading import Mail, Page, find_inbox, is_due, lock_inboxes, mails_of, read_mails, those_of
from .sending import Draft, Sent, take_numbers, write_drafts
from .settling import Acked, Claim, MessageId, NamedId, Return, Settling, give_back, write_acks, write_claims
from .states import OPEN, State
from .writer import writer

__all__ = [
    "Acked", "Address", "Draft", "Mail", "MessageId", "NamedId", "Page", "Sent", "ack", "claim", "draft",
    "give_back_mail", "give_up", "inbox", "let_go", "mark_told", "post", "post_async", "receive", "requeue", "send",
    "settling", "sweep", "take_back",
]  # fmt: skip

logger = structlog.get_logger(__name__)

_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SWEPT_AT_ONCE: Final = 500


def draft(
    project_id: UUID,
    sender: Address,
    to: Sequence[Address],
    payload: Any,
    *,
    subject: str = "",
    kind: str = "message",
    audience: str = "",
    reply_to: UUID | None = None,
    dedupe_key: str | None = None,
    run_id: UUID | None = None,
    hop_count: int | None = None,
    most_hops: int = HOPS,
) -> Draft:
    """A message that fits. Raises ``Invalid``, ``PayloadTooLarge``, ``PayloadTooDeep``; the rest is asked on sending.

    ``audience`` is to whom it goes in words (``team:all``), where ``to`` are the members of the moment.
    """
    recipients = tuple(dict.fromkeys(to))
    if not 0 < len(recipients) <= RECIPIENTS:
        raise _unfit("to", f"A message has 1 to {RECIPIENTS} recipients.")
    for name, text, most in (("subject", subject, SUBJECT_CHARS), ("audience", audience, AUDIENCE_CHARS)):
        if len(text) > most or not _is_clean(text):
            raise _unfit(name, f"The {name} has at most {most} printable characters.")
    if not _KIND.fullmatch(kind):
        raise _unfit("kind", "A kind of message is a word such as question: a-z, 0-9 and _, at most 32.")
    if dedupe_key is not None and not (0 < len(dedupe_key) <= KEY_CHARS and _is_clean(dedupe_key)):
        raise _unfit("dedupe_key", f"A dedupe_key has 1 to {KEY_CHARS} printable characters.")
    if hop_count is not None and not 0 <= hop_count < 2**15:
        raise _unfit("hop_count", "A hop_count is a number from 0.")
    return Draft(
        project_id, sender, recipients, encode_payload(payload), subject, kind, audience, reply_to, dedupe_key, run_id,
        hop_count or 0, most_hops,
    )  # fmt: skip


def send(
    project_id: UUID,
    sender: Address,
    to: Sequence[Address],
    payload: Any,
    *,
    subject: str = "",
    kind: str = "message",
    audience: str = "",
    reply_to: UUID | None = None,
    dedupe_key: str | None = None,
    run_id: UUID | None = None,
    hop_count: int | None = None,
    most_hops: int = HOPS,
) -> Sent:
    """One message, and a delivery to each of ``to``; durable once this returns.

    The same ``dedupe_key`` (of this sender, in this project) with the same content is the same message, with
    ``created`` False; with other content ``DedupeConflict``. Raises what ``draft`` does, ``HopLimit``, and
    ``NotFound`` for a ``reply_to`` that the sender neither sent nor got.
    """
    made = draft(
        project_id, sender, to, payload, subject=subject, kind=kind, audience=audience, reply_to=reply_to,
        dedupe_key=dedupe_key, run_id=run_id, hop_count=hop_count, most_hops=most_hops,
    )  # fmt: skip
    return post(made)


def post(made: Draft) -> Sent:
    """``send`` what was drafted before."""
    return writer.write(write_drafts, made)


async def post_async(made: Draft) -> Sent:
    """``post`` without holding a thread while it waits. Not within a transaction."""
    return await writer.write_async(write_drafts, made)


def inbox(
    recipient: Address,
    *,
    after: int = 0,
    limit: int = PAGE,
    run_id: UUID | None = None,
    state: str | None = None,
    projects: Collection[UUID] | None = None,
    apart: Collection[UUID] = (),
) -> Page:
    """The deliveries after number ``after``, in order; changes nothing.

    ``state`` is ``open`` (queued or leased), one of the states, or None for all. A database that cannot be read
    raises its ``DatabaseError``: an empty page means that there is nothing.
    """
    if after < 0:
        raise _unfit("after", "after is a number from 0.")
    where, values = those_of(run_id, projects, apart)
    if state == "open" or state in OPEN:
        where.append("d.settled_at IS NULL")
    elif state and state not in State:
        raise _unfit("state", f"A state is open, {', '.join(State)}.")
    if state in State:
        where.append("d.state = %s")
        values.append(str(state))
    box, last = find_inbox(recipient)
    if after >= last:
        return Page([], after, last)
    limit = _bounded("limit", limit, 1, MOST_PER_PAGE)
    results = read_mails(["d.inbox_id = %s", "d.number > %s", *where], [box, after, *values], limit, PAGE_CHARS)
    last = max(last, results[-1].number if results else 0)
    is_cut = len(results) == limit or sum(len(each.payload_text) for each in results) >= PAGE_CHARS
    return Page(results, results[-1].number if is_cut else last, last)


def claim(
    recipient: Address,
    *,
    limit: int = 10,
    lease_seconds: float = LEASE_SECONDS,
    run_id: UUID | None = None,
    projects: Collection[UUID] | None = None,
    apart: Collection[UUID] = (),
    key: str | None = None,
) -> Claim:
    """What a recipient asks for, if it fits. Raises ``Invalid``."""
    if key is not None and not (0 < len(key) <= KEY_CHARS and _is_clean(key)):
        raise _unfit("key", f"A key has 1 to {KEY_CHARS} printable characters.")
    limit = _bounded("limit", limit, 1, MOST_PER_PAGE)
    if not LEASE_SECONDS_LEAST <= lease_seconds <= LEASE_SECONDS_MOST:
        raise _unfit("lease_seconds", f"A lease lasts {LEASE_SECONDS_LEAST:g} to {LEASE_SECONDS_MOST:g} seconds.")
    theirs = None if projects is None else frozenset(projects)
    return Claim(recipient, limit, lease_seconds, run_id, theirs, frozenset(apart), key)


def receive(
    recipient: Address,
    *,
    limit: int = 10,
    lease_seconds: float = LEASE_SECONDS,
    run_id: UUID | None = None,
    projects: Collection[UUID] | None = None,
    key: str | None = None,
) -> list[Mail]:
    """Lease what is due, lowest number first; until the lease ends nobody else gets it. Then it comes again, marked.

    After ``ATTEMPTS`` leases without an ack it is dead. Asked again with the same ``key``, because the answer was
    lost, say, it is the same lease. A ``DatabaseError`` is raised, and is no empty list.
    """
    wanted = claim(recipient, limit=limit, lease_seconds=lease_seconds, run_id=run_id, projects=projects, key=key)
    if key is None and not is_due(recipient, run_id, projects):
        return []  # without a write: most who ask find nothing
    return mails_of(writer.write(write_claims, wanted))


def settling(
    recipient: Address,
    message_ids: Sequence[NamedId],
    *,
    run_id: UUID | None = None,
    projects: Collection[UUID] | None = None,
    apart: Collection[UUID] = (),
) -> Settling:
    """What a recipient has dealt with, if it fits. Raises ``Invalid``."""
    if not 0 < len(message_ids) <= MOST_PER_PAGE:
        raise _unfit("message_ids", f"Name 1 to {MOST_PER_PAGE} messages.")
    theirs = None if projects is None else frozenset(projects)
    return Settling(recipient, tuple(message_ids), run_id, theirs, frozenset(apart))


def ack(
    recipient: Address,
    message_ids: Sequence[NamedId],
    *,
    run_id: UUID | None = None,
    projects: Collection[UUID] | None = None,
    apart: Collection[UUID] = (),
) -> list[Acked]:
    """Settle the recipient's copies; for each id, in order, whether that changed anything.

    An id is a message's, or the number in the inbox. What is neither, is not the recipient's, or belongs to one of the
    runs ``apart``, has the code ``not_found``.
    """
    wanted = settling(recipient, message_ids, run_id=run_id, projects=projects, apart=apart)
    return writer.write(write_acks, wanted)


def requeue(message_id: UUID, *, by: ActorLike, to: Sequence[Address] | None = None) -> list[tuple[Address, int]]:
    """Deliver again what is dead of a message: to all for whom it is, or to those of ``to``. Audited.

    Each gets a new number, so that readers who have passed the old one see it. Raises ``NotFound``, and
    ``WrongState`` where nothing is dead.
    """
    with transaction.atomic():
        message = Message.objects.filter(pk=message_id).defer("payload").first()
        if message is None:
            raise NotFound("There is no such message, or you may not see it.", message_id=str(message_id))
        dead = Delivery.objects.filter(message=message_id, state=State.DEAD)
        rows = dead.values_list("inbox__kind", "inbox__owner", "inbox_id", "number")
        letters = {Address(kind, owner): (id_, number) for kind, owner, id_, number in rows}
        if to is not None:
            letters = {address: key for address, key in letters.items() if address in set(to)}
        if not letters:
            raise WrongState("No delivery of this message is dead.", message_id=str(message_id))
        numbers = {address: last for address, (_, last) in take_numbers(dict.fromkeys(letters, 1)).items()}
        moved = []
        for address, (inbox_id, number) in sorted(letters.items()):
            changed = dead.filter(inbox_id=inbox_id, number=number).update(
                number=numbers[address],
                state=State.QUEUED,
                settled_at=None,
                told_at=timezone.now() if message.audience else None,
                told_run=None,
                tellings=0,
                due_at=timezone.now(),
                attempts=0,
            )
            if changed:
                moved.append((address, numbers[address]))
        recipients = [str(address) for address, _ in moved]
        record(message.project_id, "mail.requeued", by=by, of=("message", message_id), recipients=recipients[:100])
    return moved


def give_back_mail(
    mail: Mail, reason: str, now: datetime, *, due_at: datetime | None = None, is_final: bool = False
) -> bool:
    """Whoever leased it could not deal with it: it comes again at ``due_at``, or is dead if that would be in vain.

    False if its lease is another's by now. Within a transaction.
    """
    box = lock_inboxes([mail.recipient]).get(mail.recipient)
    if box is None or mail.leased_until is None:
        return False
    back = Return(box, mail.number, mail.attempts, mail.leased_until, reason, is_final=is_final, due_at=due_at)
    return bool(give_back([back], now))


def give_up(recipient: Address, reason: str) -> int:
    """Whatever is open in an inbox is dead: nobody will ever ask for it. How many. Within a transaction."""
    box = lock_inboxes([recipient]).get(recipient)
    waiting = Delivery.objects.filter(inbox=box, settled_at=None)
    return waiting.update(state=State.DEAD, leased_until=None, settled_at=timezone.now(), reason=reason[:200])


def mark_told(recipient: Address, number: int, run_id: UUID, now: datetime) -> bool:
    """It is put to this run now, in the transaction at hand; False if it was to one before, or is no longer open."""
    mine = Delivery.objects.filter(inbox=_inbox_id(recipient), number=number, settled_at=None, told_at=None)
    return bool(mine.update(told_at=now, told_run=run_id, tellings=F("tellings") + 1))


def take_back(recipient: Address, message_id: UUID, run_id: UUID) -> bool:
    """It did not reach the run after all: it may be put to one again, up to ``TELLINGS`` times."""
    mine = Delivery.objects.filter(inbox=_inbox_id(recipient), message=message_id, settled_at=None)
    here = mine.filter(Q(told_run=run_id) | Q(told_run=None), tellings__lt=TELLINGS)
    return bool(here.update(told_at=None, told_run=None))


def let_go(run_id: UUID, *, is_untaken: bool) -> int:
    """The run is over. What it did not take may be put to another, up to ``TELLINGS`` times; how many those are.

    Within a transaction.
    """
    told = Delivery.objects.filter(told_run=run_id)
    # Their inboxes first: an ack that is under way locks some of the same rows, in an order of its own.
    lock_inboxes({Address(*owner) for owner in told.order_by().values_list("inbox__kind", "inbox__owner").distinct()})
    again = 0
    if is_untaken:
        untaken = told.filter(state=State.QUEUED, attempts=0, tellings__lt=TELLINGS)
        again = untaken.update(told_at=None, told_run=None)
    told.update(told_run=None)
    return again


def _inbox_id(owner: Address) -> int | None:
    return Inbox.objects.filter(kind=owner.kind, owner=owner.id).values_list("pk", flat=True).first()


def sweep(now: datetime) -> int:
    """Take back leases that ran out, each with its back-off; give up what was handed out too often. How many moved."""
    moved = 0
    while True:
        with transaction.atomic():
            over = Delivery.objects.filter(leased_until__lte=now).order_by("leased_until", "inbox", "number")
            if connection.features.has_select_for_update_skip_locked:
                over = over.select_for_update(skip_locked=True, no_key=True)
            rows = over.values_list("inbox_id", "number", "attempts", "leased_until")[:_SWEPT_AT_ONCE]
            returns = [Return(box, number, tried, end, "Its lease ran out.") for box, number, tried, end in rows if end]
            moved += give_back(returns, now)
        if len(returns) < _SWEPT_AT_ONCE:
            break
    if moved:
        logger.info("mail.leases_ran_out", deliveries=moved)
    return moved


def _bounded(name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise _unfit(name, f"{name} is a number from {least} to {most}.")
    return value


def _is_clean(text: str) -> bool:
    """Fit for every database, log and terminal: no control characters, no half of a surrogate pair."""
    return all(char.isprintable() or char == " " for char in text)


def _unfit(field: str, message: str) -> Invalid:
    return Invalid(message, fields={field: [message]})
