"""Commands to nodes: rows written with the decision they carry, sent until the node answers.

First in, first out per run; parallel across runs. A lost answer is *unknown*: the same
node is asked again, and answers a repeat as it answered before.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q
from django.utils import timezone

from audit.bell import bell
from nodes.contract.commands import Body, CancelRun, StartRun

from .leases import HeldLease, require_lease
from .models import Command

RETRY_CODES = frozenset({"capacity", "busy", "stale_epoch"})
"""Rejections that say "not now": the command stays pending and is sent again."""
_OVERDUE_AT_ONCE: Final = 500


def queue_command(node_id: UUID, body: Body, *, run: UUID, key: str = "", not_after: datetime | None = None) -> Command:
    """Write a command in the caller's transaction, which has locked the run; the link's owner hears of it on commit.

    It goes behind all that were written for the run before. A ``key`` is the run's only one of this kind.
    """
    last = Command.objects.filter(run=run).aggregate(last=Max("number"))["last"] or 0
    text = body.model_dump_json()
    command = Command.objects.create(
        node_id=node_id, run=run, number=last + 1, kind=body.KIND, key=key, digest=digest_of(text) if key else "",
        body=text, not_after=not_after,
    )  # fmt: skip
    transaction.on_commit(partial(bell.poke, f"node:{node_id}"))
    return command


def queue_first_commands(commands: Iterable[tuple[UUID, UUID, Body]]) -> None:
    """Write commands (node, run, body) of runs that have had none yet, as ``queue_command`` does, in one statement."""
    rows = [
        Command(node_id=node_id, run=run_id, number=1, kind=body.KIND, body=body.model_dump_json())
        for node_id, run_id, body in commands
    ]
    Command.objects.bulk_create(rows)
    for node_id in {row.node_id for row in rows}:
        transaction.on_commit(partial(bell.poke, f"node:{node_id}"))


def replace_unsent(commands: Sequence[tuple[UUID, UUID, Body]]) -> None:
    """Write commands (node, run, body) of one kind behind all others of their runs, in the caller's transaction, which
    has locked the runs. Those of the kind that were not sent yet are withdrawn: the newer one says it all.
    """
    if not commands:
        return
    runs, kind = [run for _, run, _ in commands], commands[0][2].KIND
    unsent = Command.objects.filter(run__in=runs, kind=kind, state=Command.State.PENDING, first_sent_at=None)
    unsent.update(state=Command.State.WITHDRAWN, code="replaced", answered_at=timezone.now(), body="")
    last = dict(Command.objects.filter(run__in=runs).order_by().values_list("run").annotate(last=Max("number")))
    Command.objects.bulk_create(
        Command(node_id=node_id, run=run, number=last.get(run, 0) + 1, kind=kind, body=body.model_dump_json())
        for node_id, run, body in commands
    )
    for node_id in {node_id for node_id, _, _ in commands}:
        transaction.on_commit(partial(bell.poke, f"node:{node_id}"))


def digest_of(body: str) -> str:
    """What is left of a body, to know a repeat by."""
    return hashlib.sha256(body.encode()).hexdigest()


def withdraw_unsent(run: UUID, kind: str) -> bool:
    """Take back a command that was never sent. False once it was sent: its fate is the node's to say."""
    return bool(
        Command.objects.filter(run=run, kind=kind, state=Command.State.PENDING, first_sent_at=None).update(
            state=Command.State.WITHDRAWN, answered_at=timezone.now(), body=""
        )
    )


def withdraw_all(run: UUID, *, but: str) -> int:
    """Wait for no answer any more, sent or not, except to commands of the kind ``but``. Returns how many."""
    pending = Command.objects.filter(run=run, state=Command.State.PENDING).exclude(kind=but)
    return pending.update(state=Command.State.WITHDRAWN, code="run_ended", answered_at=timezone.now(), body="")


def is_pending(run: UUID, kind: str) -> bool:
    """Whether such a command to the run's node is still without an answer."""
    return Command.objects.filter(run=run, kind=kind, state=Command.State.PENDING).exists()


def is_unsent(run: UUID, kind: str) -> bool:
    """Whether such a command waits here, and its node has not heard of it."""
    return Command.objects.filter(run=run, kind=kind, state=Command.State.PENDING, first_sent_at=None).exists()


def take_commands(lease: HeldLease, under_way: Collection[UUID], limit: int = 200) -> list[Command]:
    """The next commands to send, each run's oldest only, marked as sent. Raises ``LeaseLost``."""
    with transaction.atomic():
        require_lease(lease)
        now = timezone.now()
        # What was not sent in its time is left to expire_command(), and holds up nothing behind it.
        sendable = Q(first_sent_at__isnull=False) | Q(not_after=None) | Q(not_after__gt=now)
        pending = Command.objects.filter(sendable, node_id=lease.node_id, state=Command.State.PENDING)
        earlier = Q(number__lt=OuterRef("number")) | Q(number=OuterRef("number"), id__lt=OuterRef("id"))
        first_of_runs = pending.filter(~Exists(pending.filter(earlier, run=OuterRef("run")))).order_by("id")
        chosen = [c for c in first_of_runs[: limit + len(under_way)] if c.id not in under_way][:limit]
        # Whoever withdraws one meanwhile has won: what is withdrawn must not be sent, and what is sent not withdrawn.
        unsent = Command.objects.filter(id__in=[c.id for c in chosen if c.first_sent_at is None])
        pending_still = unsent.select_for_update(no_key=True).filter(state=Command.State.PENDING).order_by("id")
        taken = set(pending_still.values_list("id", flat=True))
        if taken:
            Command.objects.filter(id__in=taken).update(first_sent_at=now)
        return [c for c in chosen if c.first_sent_at or c.id in taken]


def _is_called_off(command_id: UUID) -> bool:
    """Whether it starts a run for whose end another command waits behind it."""
    start = Command.objects.filter(id=command_id, kind=StartRun.KIND).first()
    return start is not None and is_pending(start.run, CancelRun.KIND)


def overdue(now: datetime) -> list[tuple[UUID, UUID]]:
    """(command, run) of what was not sent in its time."""
    late = Command.objects.filter(state=Command.State.PENDING, first_sent_at=None, not_after__lte=now)
    return list(late.order_by("id").values_list("id", "run")[:_OVERDUE_AT_ONCE])


def expire_command(command_id: UUID, now: datetime) -> Command | None:
    """Withdraw it unless it was sent meanwhile."""
    late = Command.objects.filter(id=command_id, state=Command.State.PENDING, first_sent_at=None, not_after__lte=now)
    message = "Its node could not be reached in time."
    withdrawn = late.update(state=Command.State.WITHDRAWN, code="expired", message=message, answered_at=now, body="")
    return Command.objects.get(id=command_id) if withdrawn else None


def answer_command(
    command_id: UUID, node_id: UUID, *, accepted: bool, code: str = "", message: str = ""
) -> Command | None:
    """Store the node's answer, once; None for a repeat, an unknown command, or a rejection that means "not now"."""
    if not accepted and code in RETRY_CODES:
        if not _is_called_off(command_id):
            # The node has not taken it: it is as if it had not been sent, and can be withdrawn.
            Command.objects.filter(id=command_id, node_id=node_id, state=Command.State.PENDING).update(
                first_sent_at=None
            )
            return None
        code, message = "cancelled", "It was cancelled before its node could take it."
    answered = Command.objects.filter(id=command_id, node_id=node_id, state=Command.State.PENDING).update(
        state=Command.State.ACCEPTED if accepted else Command.State.REJECTED,
        answered_at=timezone.now(),
        code=code[:64],
        message=message[:2000],
        body="",
    )
    return Command.objects.get(id=command_id) if answered else None
