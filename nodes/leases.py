"""Who owns a node's link. Times are the database's clock; the epoch grows with every new owner.

Protocol: a controlplane paused past its lease can do nothing, since every transaction
about the node tests owner and epoch.

A lease that is further ahead of the clock than its own length is none: the clock jumped back, and nothing else tells
a dead owner's from a live one's, which renews its own in a moment. Whoever loses a live one so learns it by the epoch.

A transaction that locks the node's row as well locks it first, then the lease; of several nodes in the order of ids.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from audit.bell import bell
from nodes.contract.errors import Conflict

from .link.errors import LinkProtocolError
from .models import LinkLease, Node

LEASE_SECONDS: Final = 15.0
RENEW_SECONDS: Final = 3.0
MOST_EPOCH: Final = 2**62
"""More than a node can have seen, and still far from what the column holds."""
_LOCK_SECONDS: Final = 2.0


class LeaseLost(Conflict):
    code, grpc = "lease_lost", "ABORTED"
    message = "Another control plane owns this node's link."


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A claim on a node's link; void once the epoch has moved on or the time has run out."""

    node_id: UUID
    owner: str
    epoch: int


def running_leases() -> QuerySet[LinkLease]:
    """Those that keep others from their nodes' links."""
    return LinkLease.objects.filter(_runs())


def _runs() -> Q:
    return Q(expires_at__gte=Now(), expires_at__lte=Now() + timedelta(seconds=LEASE_SECONDS))


def bound_lock_waits() -> None:
    """In the caller's transaction no lock is waited for longer than ``_LOCK_SECONDS``, then ``OperationalError``.

    An owner that was stopped in the middle of a transaction must not hold up whoever comes after it.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {_LOCK_SECONDS * 1000:.0f}")


def claim_lease(node_id: UUID, owner: str) -> HeldLease | None:
    """A lease in a new epoch; None while somebody else's lease runs, or a transaction about the node is under way.

    An owner's own lease is taken over at once.
    """
    with transaction.atomic():
        LinkLease.objects.get_or_create(node_id=node_id)
        is_free = Q(owner=owner) | Q(expires_at=None) | ~_runs()
        free = LinkLease.objects.filter(is_free, node_id=node_id)
        if not free.select_for_update(skip_locked=True).exists():
            return None
        return _begin_epoch(node_id, owner)


class StillLinked(Conflict):
    """The link that is there has not ended yet, and another process of the node server is at its other end."""

    code, grpc = "still_linked", "ABORTED"
    message = "Another connection of this node has not ended yet. It may be made again in a moment."


def take_lease(node_id: UUID, owner: str, instance: str = "", *, is_linked: bool = False) -> HeldLease:
    """A lease in a new epoch, whoever has it now: a node that dials has said whom it wants to be served by.

    Not from another ``instance`` of the node, nor for one that does not say which it is: ``StillLinked`` while that
    has a link. ``is_linked`` says so of this owner's own lease; that of another owner speaks for itself.
    ``OperationalError`` if its present owner is in the middle of a transaction for longer than ``_LOCK_SECONDS``.
    """
    with transaction.atomic():
        bound_lock_waits()
        LinkLease.objects.get_or_create(node_id=node_id)
        live = running_leases().filter(node_id=node_id).select_for_update().first()
        is_another = live is not None and bool(live.instance) and instance != live.instance
        if live and is_another and (is_linked or live.owner != owner):
            raise StillLinked()
        return _begin_epoch(node_id, owner, instance)


def _begin_epoch(node_id: UUID, owner: str, instance: str = "") -> HeldLease:
    lease = LinkLease.objects.filter(node_id=node_id)
    until = Now() + timedelta(seconds=LEASE_SECONDS)
    lease.update(owner=owner, epoch=F("epoch") + 1, instance=instance, expires_at=until)
    return HeldLease(node_id, owner, lease.values_list("epoch", flat=True).get())


def outrun_epoch(lease: HeldLease, seen: int) -> HeldLease:
    """The lease in an epoch above ``seen``, the highest that its node knows: a hub restored from a backup is behind.

    Within the caller's transaction, which goes on to write the node. ``LeaseLost`` unless it is held,
    ``LinkProtocolError`` for an epoch no hub gave.
    """
    require_lease(lease, with_node=True)
    if seen < lease.epoch:
        return lease
    if seen >= MOST_EPOCH:
        raise LinkProtocolError(f"The node says that it has seen epoch {seen}, which no hub gave it.")
    _rows(lease).update(epoch=seen + 1)
    return replace(lease, epoch=seen + 1)


def held_elsewhere(owner: str) -> Exists:
    """For queries of nodes: those whose lease somebody else holds."""
    return Exists(running_leases().filter(node=OuterRef("pk")).exclude(owner=owner))


def renew_leases(leases: Collection[HeldLease]) -> set[HeldLease]:
    """Renew all; those that ran out or were taken come back, and their links must be cut.

    One that is taken just now may miss from the answer: every transaction tests it anyway.
    """
    live = LinkLease.objects.filter(pk__in=[lease.node_id for lease in leases], expires_at__gte=Now())
    held = {HeldLease(*row) for row in live.values_list("node_id", "owner", "epoch")}.intersection(leases)
    for owner in {lease.owner for lease in held}:
        live.filter(pk__in=[lease.node_id for lease in held], owner=owner).update(
            expires_at=Now() + timedelta(seconds=LEASE_SECONDS)
        )
    return set(leases) - held


def release_lease(lease: HeldLease) -> None:
    _rows(lease).update(expires_at=None, owner="")


def release_leases(owner: str) -> None:
    """All that the owner has, when it stops: in one statement, however many."""
    LinkLease.objects.filter(owner=owner).update(expires_at=None, owner="")


def void_lease(node: Node) -> None:
    """End whoever owns the node's link: nothing of it is taken any more, and its owner is told when this commits."""
    LinkLease.objects.filter(node=node).update(epoch=F("epoch") + 1, owner="", expires_at=None)
    transaction.on_commit(lambda: bell.poke(f"node:{node.pk}"))


def require_lease(lease: HeldLease, *, with_node: bool = False) -> None:
    """Raise ``LeaseLost`` unless the lease is held; holds its row until the caller's transaction ends.

    ``with_node``: holds that of its node too, which the caller is about to write.
    """
    if with_node and not Node.objects.select_for_update(no_key=True).filter(pk=lease.node_id).exists():
        raise LeaseLost()
    if not _rows(lease).select_for_update().filter(expires_at__gte=Now()).exists():
        raise LeaseLost()


def _rows(lease: HeldLease) -> QuerySet[LinkLease]:
    return LinkLease.objects.filter(node_id=lease.node_id, owner=lease.owner, epoch=lease.epoch)
