"""How a machine becomes a node, stays one, and ceases to be: tokens, enrolment, renewal, revocation.

What proves what stands in ``nodes.link.joining``. Nothing here needs a session: a request is as good
as its proof, and refusals are counted by address.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from redis.exceptions import RedisError

from agenthub_site.accounts.actors import SYSTEM, Actor, ActorKind
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes import pki
from nodes.contract.errors import Conflict, Forbidden, HubError, Invalid
from nodes.link.joining import (
    CLOCK_SECONDS,
    Enrolled,
    TokenText,
    authorities_message,
    derive_key,
    is_same,
    new_secret,
    renewal_message,
    request_proof,
)

from .doors import hub_addresses
from .leases import void_lease
from .models import JoinToken, Node
from .routes import allow_projects as allow_projects_on
from .routes import find_projects
from .services import wrong_with_id, wrong_with_target

TOKEN_LIFE: Final = timedelta(hours=1)
ATTEMPTS: Final = 10
_CACHE_AWAY: Final = (RedisError, OSError)
WINDOW_SECONDS: Final = 300
SAID_AGAIN_SECONDS: Final = 86_400
"""How often the trail says that one node is refused for one reason."""


class JoinTokenInvalid(Forbidden):
    """Unknown, or the request was not made with its secret."""

    code: ClassVar[str] = "join_token_invalid"
    message: ClassVar[str] = "This join token is not one of this hub's. Make one there: agenthub node token NAME."


class JoinTokenExpired(Forbidden):
    code: ClassVar[str] = "join_token_expired"
    message: ClassVar[str] = "This join token has expired. Make a new one on the hub: agenthub node token NAME."


class JoinTokenUsed(Conflict):
    code: ClassVar[str] = "join_token_used"
    message: ClassVar[str] = (
        "This join token was used already, and is good for one machine. If that was not you, revoke the node; "
        "else make a new token on the hub: agenthub node token NAME."
    )


class HomeHoldsRuns(Conflict):
    """The machine has live runs of another node, which it would end by becoming this one."""

    code: ClassVar[str] = "home_holds_runs"
    message: ClassVar[str] = (
        "This machine's home has live runs of another node, and joining would end them. Stop them first, or join with "
        "another home (AGENTHUB_HOME). The token was not used."
    )


class NodeRevoked(Forbidden):
    """The node was revoked, or its certificate is of a generation that is over."""

    code: ClassVar[str] = "node_revoked"
    message: ClassVar[str] = "This node's certificate is not accepted any more. Join it again with a new token."


class RenewalRefused(Forbidden):
    code: ClassVar[str] = "renewal_refused"
    message: ClassVar[str] = "This renewal is not signed by the present key of a joined node."


class ClockSkew(Forbidden):
    """``data["seconds"]``: how far the node's clock is ahead of the hub's."""

    code: ClassVar[str] = "clock_skew"
    message: ClassVar[str] = "This renewal was signed at another time. Synchronise the clocks of node and hub."

    def __init__(self, seconds: float) -> None:
        where = "ahead of" if seconds > 0 else "behind"
        super().__init__(
            f"The node's clock is {abs(seconds):.0f} s {where} the hub's; at most {CLOCK_SECONDS} s are allowed. "
            "Synchronise both (chrony or systemd-timesyncd); the node then tries again by itself.",
            seconds=round(seconds),
        )


class TooManyAttempts(HubError):
    code, http, grpc = "throttled", 429, "RESOURCE_EXHAUSTED"
    message = "Too many refused attempts from this address; wait five minutes."


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token and its text, which is told only now."""

    token: JoinToken
    text: TokenText


@dataclass(frozen=True, slots=True)
class Renewed:
    """A certificate, whom to trust from now on, and the word for that of an authority that the node trusts already."""

    certificate: str
    authorities: str
    proof: bytes


def create_join_token(slug: str, by: Actor, allow_projects: Iterable[str] = ()) -> MadeToken:
    """A token for the node ``slug``, which is made if there is none. Root only. ``Invalid``, ``Conflict``.

    For a node that joined before (or was revoked): whoever uses the token takes its place. ``allow_projects`` (slugs)
    may use the node from then on.
    """
    require(by, Can.MANAGE_NODES)
    projects = find_projects(allow_projects)
    if why := wrong_with_id(slug):
        raise Invalid(f"A node cannot be called {slug!r:.140}: {why}", fields={"name": [why]})
    addresses = hub_addresses(settings.CONFIG)
    authority = pki.load_authority(settings.CONFIG.pki_dir)
    secret = new_secret()
    with transaction.atomic():
        node, is_new = Node.objects.get_or_create(
            slug=slug, defaults={"name": slug, "direction": Node.Direction.TUNNEL}
        )
        if node.direction != Node.Direction.TUNNEL and not node.is_joined:
            raise Conflict(f"The hub dials {slug} itself, so it cannot join. Use another name.")
        token = JoinToken(node=node, created_by=by.label or by.id, expires_at=timezone.now() + TOKEN_LIFE)
        token.key = derive_key(token.pk, secret)
        token.save(force_insert=True)
        if is_new:
            record(None, "node.created", by=by, of=("node", node.pk), node=node.pk, slug=slug)
        record(None, "join_token.created", by=by, of=("join_token", token.pk), node=node.pk, slug=slug)
        allow_projects_on(node, projects, by=by)
    return MadeToken(token, TokenText(token.pk, secret, pki.fingerprint(authority.pem), addresses))


def enroll(
    token_id: UUID, name: str, csr: str, proof: str, *, target: str = "", holds: UUID | None = None, address: str = ""
) -> tuple[Enrolled, str]:
    """A certificate for the machine that has the token's secret; the answer and its proof.

    With a ``target`` (https://host:port) the hub is to dial the node there; without, the node dials. ``holds`` is the
    node whose runs are live on the machine, if there are any: ``HomeHoldsRuns`` unless it is this one. Used up by the
    first that succeeds, and the node's other tokens with it. A revoked node is enabled again, a disabled one stays so.
    Raises ``JoinTokenInvalid``, ``JoinTokenUsed``, ``JoinTokenExpired`` (audited, if there is such a token; the first
    of each kind even where it ends as ``TooManyAttempts``), ``Invalid`` for a request that is none.
    """
    token = JoinToken.objects.select_related("node").filter(pk=token_id).first()
    try:
        if token is None or token.node.removed_at is not None:
            raise JoinTokenInvalid()
        key = bytes(token.key)
        if token.used_at is not None:
            raise JoinTokenUsed()
        if not key:  # anybody can prove that
            raise JoinTokenExpired()
        # A node of an older version proves all but ``holds``. That weakens no other: nobody without the secret can make
        # such a proof of a request whose node proves more.
        proofs = [request_proof(key, token_id, name, csr, target, holds=said) for said in {holds, None}]
        if not any(is_same(proof, each) for each in proofs) or name not in ("", token.node.slug):
            raise JoinTokenInvalid()
        if token.expires_at <= timezone.now():
            raise JoinTokenExpired()
        if holds is not None and holds != token.node_id:
            raise HomeHoldsRuns()
        enrolled = _enroll(token, _requested_key(csr), target, address)
    except (JoinTokenInvalid, JoinTokenUsed, JoinTokenExpired) as refusal:
        is_first = token is not None and _is_first(f"{token.pk}:{refusal.code}")
        if token is not None and is_first:  # whoever sends much else before hides nothing
            _note_refusal(token, refusal, address)
        _count_refusal(address)
        if token is not None and not is_first:
            _note_refusal(token, refusal, address)
        raise
    return enrolled, enrolled.proof(key, csr)


def renew(node_id: UUID, csr: str, timestamp: int, certificate: str, signature: bytes, *, address: str = "") -> Renewed:
    """The next certificate of a joined node, for a new key; signed by the key of the present one.

    The present one may have expired ``RENEW_GRACE_DAYS`` ago. Raises ``RenewalRefused``, ``ClockSkew``,
    ``NodeRevoked``, ``TooManyAttempts``.
    """
    authorities = pki.load_authorities(settings.CONFIG.pki_dir)
    identity: pki.NodeIdentity | None = None
    try:
        message = renewal_message(node_id, timestamp, csr)
        identity, issuer, expired_at = _check_signer(authorities, certificate, signature, message)
        if identity.node_id != node_id:
            raise RenewalRefused("A node renews its own certificate, and no other's.")
        if abs(ahead := timestamp - time.time()) > CLOCK_SECONDS:
            raise ClockSkew(ahead)
        if timezone.now() > expired_at + timedelta(days=pki.RENEW_GRACE_DAYS):
            raise RenewalRefused(
                f"This certificate expired more than {pki.RENEW_GRACE_DAYS} days ago. Join again with a new token: "
                "agenthub node token NAME, on the hub."
            )
        node = Node.objects.filter(
            Q(is_joined=True) | Q(direction=Node.Direction.TUNNEL), pk=node_id, removed_at=None
        ).first()
        if node is None or node.generation != identity.generation:
            raise NodeRevoked()
    except Forbidden as refusal:
        if identity is not None:  # it is one of our nodes: somebody may want to know
            _note_refused_node(identity, refusal, address, asked_for=node_id)
        _count_refusal(address)
        raise
    made = pki.certify_node(authorities.issuing, identity, _requested_key(csr), life=_life())
    with transaction.atomic():
        record(None, "node.renewed", by=_as_actor(node, address), of=("node", node.pk), node=node.pk)
    trusted = authorities.pem.decode()
    return Renewed(made.decode(), trusted, issuer.sign(authorities_message(csr, trusted)))


def revoke_node(node: Node, by: Actor) -> Node:
    """End the node's part at once and for good: no certificate that it has is accepted any more. Root only.

    Its lease is void when this commits, so nothing it still sends is taken; the link is cut when its owner hears of
    that, in a moment. Its runs are lost then, without a grace: nothing is waited for. A new token lets a machine join
    under the name again, and what it still has of them goes on.
    """
    require(by, Can.MANAGE_NODES)
    if node.is_local:
        raise Invalid("The hub's own node cannot be revoked. Disable it, if it should get no work.")
    with transaction.atomic():
        _begin_generation(node, is_enabled=False, revoked_at=timezone.now())
        _expire_tokens(node)
        record(
            None, "node.revoked", by=by, of=("node", node.pk), node=node.pk,
            slug=node.slug, generation=node.generation,
        )  # fmt: skip
    return node


def _enroll(token: JoinToken, public_key: ec.EllipticCurvePublicKey, target: str, address: str) -> Enrolled:
    token.node.direction = Node.Direction.DIAL if target else Node.Direction.TUNNEL
    token.node.grpc_target = target
    if why := wrong_with_target(token.node):
        raise Invalid(f"target: {why}", fields={"target": [why]})
    authorities = pki.load_authorities(settings.CONFIG.pki_dir)
    with transaction.atomic():
        # The node before its tokens, as when it is revoked: what that ends is not claimed after it.
        node = Node.objects.select_for_update(no_key=True).filter(pk=token.node_id, removed_at=None).first()
        if node is None:
            raise JoinTokenInvalid()
        now, claimed = timezone.now(), JoinToken.objects.filter(pk=token.pk)
        if not claimed.filter(used_at=None, expires_at__gt=now).exclude(key=b"").update(used_at=now, key=b""):
            raise JoinTokenExpired() if claimed.filter(used_at=None).exists() else JoinTokenUsed()
        _expire_tokens(node)
        # The name's former holder, if there was one, must not speak for the node beside the new one.
        # What revoking closed a new token opens. A node that root disabled stays so, whoever joins as it.
        is_enabled = node.is_enabled or node.revoked_at is not None
        opened: dict[str, Any] = {"is_enabled": True} if is_enabled and not node.is_enabled else {}
        _begin_generation(node, is_enabled=is_enabled, revoked_at=None)
        Node.objects.filter(pk=node.pk).update(
            is_joined=True, direction=token.node.direction, grpc_target=target, tls_server_name=""
        )
        identity = pki.NodeIdentity(node.pk, node.generation)
        certificate = pki.certify_node(authorities.issuing, identity, public_key, life=_life())
        record(
            None, "node.joined", by=_as_actor(node, address), of=("node", node.pk), node=node.pk,
            slug=node.slug, generation=node.generation, token=token.pk, grpc_target=target, **opened,
        )  # fmt: skip
    addresses = hub_addresses(settings.CONFIG)
    return Enrolled(node.pk, node.slug, node.generation, certificate.decode(), authorities.pem.decode(), addresses)


def _expire_tokens(node: Node) -> None:
    """No token of the node that was not used yet is good any more."""
    now = timezone.now()
    node.join_tokens.filter(used_at=None, expires_at__gt=now).update(expires_at=now, key=b"")


def _begin_generation(node: Node, *, is_enabled: bool, revoked_at: datetime | None) -> None:
    """Void every certificate of the node, and the lease on its link: its owner notices at the next step it takes."""
    Node.objects.filter(pk=node.pk).update(generation=F("generation") + 1, is_enabled=is_enabled, revoked_at=revoked_at)
    void_lease(node)
    node.refresh_from_db(fields=["generation", "is_enabled", "revoked_at"])


def _check_signer(
    authorities: pki.Authorities, certificate: str, signature: bytes, message: bytes
) -> tuple[pki.NodeIdentity, pki.Authority, datetime]:
    """The node whose key signed, by its certificate, which is ours; whose it is of ours, and until when it was good."""
    try:
        present = x509.load_pem_x509_certificate(certificate.encode())
        issuer = authorities.issuer_of(present)
        if issuer is None:
            raise RenewalRefused()
        key, identity = present.public_key(), pki.identity_of(certificate.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey) or identity is None:
            raise RenewalRefused()
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise RenewalRefused() from error
    return identity, issuer, present.not_valid_after_utc


def _requested_key(csr: str) -> ec.EllipticCurvePublicKey:
    try:
        return pki.requested_key(csr.encode())
    except pki.PkiError as error:
        raise Invalid(error.text, fields={"csr": [error.text]}) from error


def _life() -> timedelta:
    return timedelta(hours=settings.CONFIG.internal_grpc.certificate_hours)


def _as_actor(node: Node, address: str) -> Actor:
    return Actor(ActorKind.NODE, str(node.pk), node.slug, address=address)


def _note_refusal(token: JoinToken, refusal: HubError, address: str) -> None:
    """Whoever it was, it is not known to be the node."""
    refusal.is_noted = True
    with transaction.atomic():
        record(
            None, "join_token.refused", by=replace(SYSTEM, address=address), of=("join_token", token.pk),
            node=token.node_id, code=refusal.code,
        )  # fmt: skip


def _note_refused_node(identity: pki.NodeIdentity, refusal: HubError, address: str, *, asked_for: UUID) -> None:
    """Once in a while for each node and reason: it may come again every few minutes, for as long as it lives.

    Not for each that it asks for: it could name a new one every time.
    """
    refusal.is_noted = True
    if not _is_first(f"{identity.uri}:{refusal.code}"):
        return
    with transaction.atomic():
        node = Node.objects.filter(pk=identity.node_id).values_list("pk", flat=True).first()
        record(
            None, "node.refused", by=replace(SYSTEM, address=address), of=("node", identity.node_id), node=node,
            generation=identity.generation, code=refusal.code, asked_for=asked_for,
        )  # fmt: skip


def _is_first(refused: str) -> bool:
    """Whether it is the first of its kind for a day: there are as many kinds as tokens and nodes, for each code."""
    try:
        return bool(cache.add(f"refused:{refused}", 1, SAID_AGAIN_SECONDS))
    except _CACHE_AWAY:  # rather twice than never
        return True


def _count_refusal(address: str) -> None:
    """Raise ``TooManyAttempts``, which says less and is not audited, if the address was refused too often.

    Asked after the proof was looked at: whoever has one is not held up by others behind the same address.
    """
    try:
        cache.add(f"join:{address}", 0, WINDOW_SECONDS)
        refused = cache.incr(f"join:{address}")
    except (ValueError, *_CACHE_AWAY):  # the window ended just now, or the cache is away: then there is no limit
        return
    if refused > ATTEMPTS:
        raise TooManyAttempts() from None
