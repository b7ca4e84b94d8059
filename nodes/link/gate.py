"""Who may open a link at a node: the hub whose authority the node is of, or the hub that its configuration names."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import grpc
import grpc.aio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nodes.contract.errors import ConfigError
from nodes.pki import HUB_URI

from .certificates import names_of
from .errors import NodeMismatch, Unauthorized
from .peers import BOOTSTRAP, HUB_KEY, NODE, NODE_ID, PROOF, TOKEN, NodePeer
from .tokens import BadToken, Claims, verify

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Headers: TypeAlias = Mapping[str, str | bytes]


class Refused(Exception):
    """The link is not opened. ``said`` goes to the other end, ``why`` into our log."""

    def __init__(self, status: grpc.StatusCode, said: str, why: str = "", code: str = "link_refused") -> None:
        super().__init__(why or said)
        self.status = status
        self.said = said
        self.code = code


class Gate(Protocol):
    async def admit(self, context: Context) -> None:
        """Return, or raise ``Refused``."""
        ...


class OwnHubGate:
    """The handshake has asked for a certificate of the hub's own authority; it must name the hub."""

    async def admit(self, context: Context) -> None:
        if HUB_URI not in names_shown(context):
            raise Refused(
                grpc.StatusCode.PERMISSION_DENIED,
                "Only the hub may open a link to a node: this certificate does not name it.",
            )


@dataclass(frozen=True, slots=True)
class KnownHub:
    """What the node remembers of the hub that it accepted first, and keeps to."""

    key: str = ""
    """Of its identity, in hex; by it a hub is known where it comes with a token."""
    name: str = ""
    """In its client certificate; by it a hub is known in ``mtls``."""
    node: str = ""
    """The node's row there."""


class HubMemory(Protocol):
    def known_hub(self) -> KnownHub: ...

    def keep_hub(self, hub: KnownHub) -> None:
        """Durable when this returns."""
        ...

    def write_refusal(self, code: str, message: str) -> None:
        """For ``agenthub doctor`` on the node. Best effort."""
        ...


class ConfiguredGate:
    """A hub with the shared secret (or, in ``mtls``, a certificate of the CA), and always the same one.

    The bootstrap token, if the node was given one, is asked for when a hub comes for the first time, and never again.
    """

    def __init__(self, peer: NodePeer, memory: HubMemory) -> None:
        self._peer = peer
        self._memory = memory
        self._deciding = asyncio.Lock()

    async def admit(self, context: Context) -> None:
        headers = dict(context.invocation_metadata() or ())
        shown = dict(context.auth_context() or {}).get("x509_pem_cert", ())
        async with self._deciding:
            try:
                await asyncio.to_thread(self._decide, headers, next(iter(shown), b""))
            except ConfigError as error:
                said = "The node cannot use its own files; its log says which."
                raise Refused(grpc.StatusCode.FAILED_PRECONDITION, said, error.text, error.code) from error
            except Refused as refused:
                await asyncio.to_thread(self._memory.write_refusal, refused.code, str(refused))
                raise

    def _decide(self, headers: Headers, certificate: bytes) -> None:
        is_mutual = self._peer.mode == "mtls"
        claims, mark = _by_certificate(headers, certificate) if is_mutual else self._by_token(headers)
        if claims.node_id != self._peer.node_id:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{NodeMismatch.code}: the hub dialled {claims.node_id!r:.140}, and this node's node_id is "
                f"{self._peer.node_id!r}. Register it under that id, or change server.node_id.",
                code=NodeMismatch.code,
            )
        known = self._memory.known_hub()
        held = known.name if is_mutual else known.key
        if not held:
            self._check_bootstrap(headers, claims)
        elif held != mark:
            raise _unauthorized(
                "this node belongs to another hub, which it met first. If the hub was set up anew, run "
                "`agenthub node forget-hub` on the node",
                is_told=True,
            )
        met = replace(known, node=str(claims.node), **{"name" if is_mutual else "key": mark})
        if met != known:
            self._memory.keep_hub(met)

    def _by_token(self, headers: Headers) -> tuple[Claims, str]:
        secrets = self._peer.secrets()
        scheme, _, token = str(headers.get(TOKEN, "")).partition(" ")
        if secrets is None:
            raise _unauthorized("this node has no shared secret to verify a token by")
        if scheme.lower() != "bearer":
            raise _unauthorized(
                f"the hub showed no token, and this node is in {self._peer.mode}, which asks for one: "
                "internal_grpc.security.mode must be the same on both machines",
                is_told=True,
            )
        auth = self._peer.config.internal_grpc.auth
        try:
            claims = verify(token, secrets, auth)
        except BadToken as error:
            raise _unauthorized(str(error), is_told=error.is_genuine) from error
        key, proof = headers.get(HUB_KEY, b""), headers.get(PROOF, b"")
        try:
            Ed25519PublicKey.from_public_bytes(_bytes(key)).verify(_bytes(proof), token.encode())
        except (ValueError, InvalidSignature) as error:
            raise _unauthorized("the hub has not proved its own key", is_told=True) from error
        return claims, _bytes(key).hex()

    def _check_bootstrap(self, headers: Headers, claims: Claims) -> None:
        expected = self._peer.bootstrap()
        if expected is None:
            return
        try:
            proved = verify(str(headers.get(BOOTSTRAP, "")), expected, self._peer.config.internal_grpc.auth)
        except BadToken as error:
            why = f" ({error})" if error.is_genuine else ""
            raise _unauthorized(
                f"the hub did not show the bootstrap token that this node was given{why}. Put it into the hub's "
                "bootstrap_token.txt or internal_grpc.bootstrap.token, or take it off the node",
                is_told=True,
            ) from error
        if proved != claims:
            raise _unauthorized("the bootstrap token was shown for another node")


def names_shown(context: Context) -> list[str]:
    """The alternative names of the peer's certificate, which the handshake has verified."""
    shown: Mapping[str, Any] = context.auth_context()
    return [value.decode("utf-8", "replace") for value in shown.get("x509_subject_alternative_name", ())]


def _by_certificate(headers: Headers, certificate: bytes) -> tuple[Claims, str]:
    try:
        name = names_of(certificate)
        claims = Claims(str(headers.get(NODE_ID, "")), UUID(str(headers.get(NODE, ""))))
    except ValueError as error:
        raise _unauthorized("the call does not say which node it is for", is_told=True) from error
    if not name:
        raise _unauthorized("the client certificate has no name to know the hub by", is_told=True)
    return claims, name


def _unauthorized(why: str, *, is_told: bool = False) -> Refused:
    """Who does not have the secret is told nothing more."""
    said = f"{Unauthorized.code}: {why}" if is_told else Unauthorized.code
    return Refused(grpc.StatusCode.UNAUTHENTICATED, said, f"{Unauthorized.code}: {why}", Unauthorized.code)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""
