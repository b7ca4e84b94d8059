"""Replacing the hub's certificate authority while links are up; what that is on the disk, see ``nodes.rotation``."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from django.conf import settings
from django.db import transaction

from agenthub_site.accounts.actors import SYSTEM, Actor
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes import pki, rotation
from nodes.contract.errors import Conflict

from .models import Node

OVERLAP: Final = timedelta(days=7)
_MOST_NAMED: Final = 100


class NodesNotRenewed(Conflict):
    """``data["nodes"]`` names nodes that know only the former authority: without it they must join again."""

    code: ClassVar[str] = "nodes_not_renewed"


class OverlapNotOver(Conflict):
    """Both authorities were promised to be trusted for longer."""

    code: ClassVar[str] = "overlap_not_over"


@dataclass(frozen=True, slots=True)
class Standing:
    """The authority that issues, and while it replaces another, until when both count and who does not know it yet."""

    fingerprint: str
    expires_at: datetime
    former: str = ""
    until: datetime | None = None
    waiting: tuple[str, ...] = ()


def standing() -> Standing:
    """As of now. ``PkiError`` if the home has no authority."""
    pki_dir = settings.CONFIG.pki_dir
    authorities = pki.load_authorities(pki_dir)
    now = rotation.current(pki_dir)
    issuing = authorities.issuing
    if authorities.former is None or now is None:
        return Standing(rotation.fingerprint_of(issuing), issuing.certificate.not_valid_after_utc)
    return Standing(
        rotation.fingerprint_of(issuing),
        issuing.certificate.not_valid_after_utc,
        rotation.fingerprint_of(authorities.former),
        now.until,
        tuple(_waiting(authorities)),
    )


def rotate_authority(by: Actor, overlap: timedelta = OVERLAP) -> Standing:
    """Begin: a new authority issues from now on, and both are trusted for ``overlap`` and until every node has renewed.

    Nodes that are linked renew within a minute. Root only. Raises ``RotationUnderWay``.
    """
    require(by, Can.MANAGE_NODES)
    # The files first: if the trail cannot be written, what the nodes trust is right all the same.
    authorities = rotation.begin(settings.CONFIG.pki_dir, _local(), overlap, datetime.now(UTC))
    with transaction.atomic():
        record(
            None, "authority.rotated", by=by, of=("authority", rotation.fingerprint_of(authorities.issuing)[:32]),
            overlap_hours=round(overlap.total_seconds() / 3600, 2),
        )  # fmt: skip
    return standing()


def retire_authority(by: Actor, *, is_forced: bool = False) -> Standing:
    """End: the former authority is trusted no more. Root only.

    ``NodesNotRenewed`` while a node knows only the former one, ``OverlapNotOver`` before the time that was said;
    forced, such nodes have to join again. ``NoRotation`` if there is nothing to end.
    """
    require(by, Can.MANAGE_NODES)
    now = standing()
    if now.until is None:
        raise rotation.NoRotation()
    if not is_forced and now.waiting:
        named = ", ".join(now.waiting[:5]) + (", …" if len(now.waiting) > 5 else "")
        raise NodesNotRenewed(
            f"These nodes know only the former authority, and would have to join again: {named}. Start them, and "
            "they renew by themselves; or revoke them.",
            nodes=list(now.waiting[:_MOST_NAMED]),
        )
    if not is_forced and datetime.now(UTC) < now.until:
        raise OverlapNotOver(
            f"Both authorities are to be trusted until {now.until:%Y-%m-%d %H:%M} UTC. Every node has renewed, so you "
            "may end that now: agenthub node rotate-ca --finish --force",
            until=now.until.isoformat(),
        )
    former = rotation.finish(settings.CONFIG.pki_dir, _local(), datetime.now(UTC))
    with transaction.atomic():
        record(
            None, "authority.retired", by=by, of=("authority", rotation.fingerprint_of(former)[:32]),
            left_behind=list(now.waiting[:_MOST_NAMED]),
        )  # fmt: skip
    return standing()


def tend_certificates() -> None:
    """Renew the hub's own certificates and the local node's in time; retire a former authority that nobody needs."""
    local = _local()
    pki.ensure_pki(settings.CONFIG.pki_dir, local.node_id, local.generation)
    now = standing()
    if now.until is not None and not now.waiting and datetime.now(UTC) >= now.until:
        retire_authority(SYSTEM)


def _local() -> pki.NodeIdentity:
    node = Node.objects.only("pk", "generation").get(slug=Node.LOCAL)
    return pki.NodeIdentity(node.pk, node.generation)


def _waiting(authorities: pki.Authorities) -> list[str]:
    """Nodes with a certificate of ours that have not said that they trust the new authority as well."""
    trust = pki.trust_digest(authorities.pem).hex()
    joined = Node.objects.filter(join_tokens__used_at__isnull=False, revoked_at=None, removed_at=None).distinct()
    return [slug for slug, facts in joined.values_list("slug", "facts") if facts.get("trust") != trust]
