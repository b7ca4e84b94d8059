"""Locks: a lease on something shared, with a number that only grows. Times are the database's clock."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Q
from django.db.models.functions import Now

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes.contract.errors import Invalid

from ..errors import LockConflict, LockNotHeld
from ..models import Lock
from ..queries import own_agent
from .texts import checked_word

MOST_SECONDS: Final = 24 * 3600
REMOVED_AFTER: Final = timedelta(days=1)
AT_ONCE: Final = 1_000
"""Rows that one tick removes at most."""


@transaction.atomic
def acquire_lock(
    key: str,
    *,
    by: Actor,
    resource_type: str = "assignment",
    resource_id: str = "",
    ttl_seconds: int = 600,
    fencing_number: int = 0,
) -> Lock:
    """Take a free lock; it has a new ``fencing_number``, greater than all before it. Of many at once one gets it.

    With the ``fencing_number`` under which the caller holds it, it is prolonged instead and keeps the number.
    ``LockConflict`` says who has it and until when. A lock is not re-entrant: two sessions of one agent are two.
    """
    agent = own_agent(by)
    require(by, Can.WORK_ON_TASK, agent)
    key = checked_word("lock_key", key, 255)
    resource_type = checked_word("resource_type", resource_type, 64, may_be_empty=True)
    resource_id = checked_word("resource_id", resource_id, 255, may_be_empty=True)
    if not 1 <= ttl_seconds <= MOST_SECONDS:
        problem = f"From 1 to {MOST_SECONDS} seconds."
        raise Invalid(f"ttl_seconds: {problem}", fields={"ttl_seconds": [problem]})
    until = Now() + timedelta(seconds=ttl_seconds)
    lock_key(agent.project_id, key)  # what is told of it below is what was decided upon
    row = Lock.objects.filter(project=agent.project_id, key=key)
    if fencing_number:
        mine = row.filter(holder=agent, fencing_number=fencing_number, expires_at__gt=Now())
        if not mine.update(expires_at=until):
            raise LockNotHeld("You do not hold this lock under that number: it ran out, or another has it.")
        return row.select_related("holder").get()
    taken = row.filter(Q(holder=None) | Q(expires_at__lte=Now())).update(
        holder=agent, fencing_number=F("fencing_number") + 1, resource_type=resource_type, resource_id=resource_id,
        acquired_at=Now(), expires_at=until,
    )  # fmt: skip
    lock = row.select_related("holder").get()
    if not taken:
        holder = lock.holder.name if lock.holder else ""
        raise LockConflict(
            f"{holder} holds the lock {key!r} until {lock.expires_at:%Y-%m-%dT%H:%M:%SZ}.",
            holder=holder, expires_at=f"{lock.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        )  # fmt: skip
    record(
        lock.project_id, "lock.acquired", by=by, of=("lock", lock.pk), key=key, fencing_number=lock.fencing_number,
        expires_at=lock.expires_at,
    )  # fmt: skip
    return lock


def lock_key(project_id: UUID, key: str) -> Lock:
    """The row of a key, made if it is missing, and locked until the transaction ends.

    A new one begins at the project's greatest number, so that one that was removed is never counted again. The project
    is locked before that number is read: between it and the new row no row is removed, or made by another.
    """
    row = Lock.objects.select_for_update(no_key=True).filter(project=project_id, key=key)
    if found := row.first():
        return found
    _lock_projects([project_id])
    if found := row.first():  # another made it meanwhile
        return found
    greatest = Lock.objects.filter(project=project_id).aggregate(number=Max("fencing_number", default=0))["number"]
    return Lock.objects.create(project_id=project_id, key=key, fencing_number=greatest)


def _lock_projects(ids: Collection[UUID]) -> None:
    """Until the transaction ends rows of locks come and go in these projects by this transaction alone."""
    list(Project.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk").values_list("pk"))


@transaction.atomic
def remove_free(now: datetime) -> int:
    """Remove the rows of locks that are free: of each project all but the one with its greatest number, which new ones
    begin at. One that ran out stays for a day, in which its holder may still give it back. How many went.
    """
    greater = Lock.objects.filter(project=OuterRef("project"), fencing_number__gt=OuterRef("fencing_number"))
    free = Q(holder=None) | Q(expires_at__lte=now - REMOVED_AFTER)
    found = dict(Lock.objects.filter(free, Exists(greater)).order_by("pk").values_list("pk", "project")[:AT_ONCE])
    if not found:
        return 0
    _lock_projects(set(found.values()))
    # Somebody may have taken one of them meanwhile: the statement that removes looks again.
    removed, _ = Lock.objects.filter(free, Exists(greater), pk__in=found).delete()
    return removed


@transaction.atomic
def release_lock(key: str, *, by: Actor, fencing_number: int = 0) -> Lock:
    """Give a lock back: by its holder, also after it ran out, as long as nobody else took it. ``LockNotHeld``.

    With a ``fencing_number`` only if it is held under that one.
    """
    agent = own_agent(by)
    require(by, Can.WORK_ON_TASK, agent)
    key = checked_word("lock_key", key, 255)
    row = Lock.objects.filter(project=agent.project_id, key=key)
    mine = row.filter(fencing_number=fencing_number) if fencing_number else row
    if not mine.filter(holder=agent).update(holder=None, expires_at=None, acquired_at=None):
        raise LockNotHeld()
    lock = row.get()
    record(lock.project_id, "lock.released", by=by, of=("lock", lock.pk), key=key, fencing_number=lock.fencing_number)
    return lock
