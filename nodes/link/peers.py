"""Both ends of the configured way, ``[internal_grpc]``: with what a hub dials its nodes, and a node is dialled."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nodes.contract.config import AuthConfig, Config
from nodes.contract.errors import ConfigError, Conflict
from nodes.contract.hosts import is_loopback

from .certificates import (
    AUTHORITY,
    CLIENT,
    NODES,
    SERVER,
    ends_at,
    find_authority,
    find_pair,
    listed,
    make_own,
    stamp_of,
)
from .credentials import Credentials, reloading
from .identity import load_identity
from .secrets import (
    AUTH_FILE,
    Secrets,
    ensure_auth_secrets,
    find_auth_secrets,
    find_bootstrap_token,
)
from .tokens import Claims, sign

logger = structlog.get_logger(__name__)

TOKEN: Final = "authorization"  # noqa: S105 - the names of headers
PROOF: Final = "agenthub-hub-proof-bin"
HUB_KEY: Final = "agenthub-hub-key-bin"
BOOTSTRAP: Final = "agenthub-bootstrap"
NODE_ID: Final = "agenthub-node-id"
NODE: Final = "agenthub-node"
CLOCK: Final = "agenthub-clock"

_NODE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_RESERVED: Final = frozenset({"main", "local", ".", ".."})


class PeerNotConfigured(Conflict):
    """The hub lacks what it needs to dial nodes by configuration."""

    code, grpc = "peer_not_configured", "FAILED_PRECONDITION"


@dataclass(frozen=True, slots=True)
class HubPeer:
    """What the hub shows to one node, and whom it believes to be that node."""

    mode: str
    node_id: str
    credentials: Credentials
    auth: AuthConfig
    secret: str = field(repr=False)
    bootstrap: str = field(repr=False)
    identity: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def load(cls, config: Config, node_id: str) -> "HubPeer":
        """Raises ``PeerNotConfigured`` that says what is missing, ``ConfigError`` for what cannot be used."""
        setting = config.internal_grpc
        mode, cert_dir = setting.security.mode, config.cert_dir
        if not setting.enabled:
            raise PeerNotConfigured(
                f"The node {node_id} is dialled by this hub's configuration, which is off: set internal_grpc.enabled "
                "= true on the hub and restart it."
            )
        credentials = Credentials(b"", b"", b"")
        if mode != "disabled":
            credentials = Credentials(_authority(cert_dir, node_id), b"", b"")
        if mode == "mtls":
            pair = find_pair(cert_dir, CLIENT)
            if pair is None:
                raise PeerNotConfigured(
                    "internal_grpc.security.mode is mtls, but the hub's cert_dir has no client certificate: "
                    f"looked for {listed(CLIENT)}."
                )
            credentials = Credentials(credentials.authority, pair.certificate, pair.key)
        secrets, bootstrap = find_auth_secrets(config), find_bootstrap_token(config)
        if secrets is None and mode != "mtls":
            raise PeerNotConfigured(
                f"The hub has no shared secret: set internal_grpc.auth.shared_secret, or put the node's {AUTH_FILE} "
                "into the hub's cert_dir."
            )
        return cls(
            mode, node_id, credentials, setting.auth,
            secrets.current if secrets else "", bootstrap.current if bootstrap else "", load_identity(config.pki_dir),
        )  # fmt: skip

    def metadata(self, claims: Claims) -> tuple[tuple[str, str | bytes], ...]:
        """The headers of the call that opens a link."""
        sent: list[tuple[str, str | bytes]] = [(NODE_ID, claims.node_id), (NODE, str(claims.node))]
        if self.bootstrap:
            sent.append((BOOTSTRAP, sign(claims, self.bootstrap, self.auth)))
        if self.mode != "mtls":
            token = sign(claims, self.secret, self.auth)
            public = self.identity.public_key().public_bytes_raw()
            sent += [(TOKEN, f"Bearer {token}"), (HUB_KEY, public), (PROOF, self.identity.sign(token.encode()))]
        return tuple(sent)


def require_loopback(config: Config, address: str, who: str) -> None:
    """Without TLS everybody on the way reads and writes along. Raises ``ConfigError``."""
    security = config.internal_grpc.security
    if security.mode == "disabled" and not security.allow_plaintext and not is_loopback(address.rpartition(":")[0]):
        raise ConfigError(
            f'internal_grpc.security.mode = "disabled" is for loopback only, and {who} is {address}. Use tls or mtls; '
            "internal_grpc.security.allow_plaintext = true sends everything in plain text all the same."
        )


def _authority(cert_dir: Path, node_id: str) -> bytes:
    authority = find_authority(cert_dir, node_id)
    if authority is None:
        raise PeerNotConfigured(
            f"The hub cannot verify the node {node_id}: its cert_dir has no CA certificate. Looked for "
            f"{NODES}/{node_id}.pem, {', '.join(AUTHORITY)}."
        )
    return authority


@dataclass(frozen=True, slots=True)
class NodePeer:
    """A node by configuration, ready to be dialled."""

    config: Config
    node_id: str

    @classmethod
    def prepare(cls, config: Config) -> "NodePeer":
        """Check everything, and make what may be made. Raises ``ConfigError`` that names key or file."""
        setting, node_id = config.internal_grpc, config.node_name
        if not _NODE_ID.fullmatch(node_id) or node_id in _RESERVED:
            raise ConfigError(
                f"server.node_id: 1 to 128 of A-Z a-z 0-9 . _ : - and neither main nor local, got {node_id!r}. It is "
                "the id under which the node is registered on the hub."
            )
        if not setting.enabled:
            raise ConfigError(
                'server.role is "node", but internal_grpc.enabled is not true: the hub could not reach this node. Set '
                "it, with internal_grpc.listen and .auth.shared_secret; or join: agenthub node join URL --token T."
            )
        require_loopback(config, setting.listen, "internal_grpc.listen")
        peer = cls(config, node_id)
        if setting.security.mode != "disabled":
            peer._prepare_certificates()
        if setting.security.mode != "mtls":
            peer._prepare_secret()
        return peer

    @property
    def mode(self) -> str:
        return self.config.internal_grpc.security.mode

    def secrets(self) -> Secrets | None:
        """As they are now: a line added to the file counts at once."""
        return find_auth_secrets(self.config)

    def bootstrap(self) -> Secrets | None:
        return find_bootstrap_token(self.config)

    def server_credentials(self) -> grpc.ServerCredentials | None:
        """None listens in plain text. Files that are replaced are taken up with the next connection."""
        if self.mode == "disabled":
            return None
        cert_dir = self.config.cert_dir
        return reloading(self._load_server, lambda: stamp_of(cert_dir), is_mutual=self.mode == "mtls")

    def _load_server(self) -> Credentials:
        cert_dir = self.config.cert_dir
        pair = find_pair(cert_dir, SERVER)
        if pair is None:
            raise ConfigError(f"{cert_dir} has no certificate for this node: looked for {listed(SERVER)}.")
        if self.mode != "mtls":
            return pair
        authority = find_authority(cert_dir)
        if authority is None:
            raise ConfigError(
                f"{cert_dir} has no CA certificate to know the hub by: looked for {', '.join(AUTHORITY)}."
            )
        return Credentials(authority, pair.certificate, pair.key)

    def _prepare_certificates(self) -> None:
        cert_dir = self.config.cert_dir
        if self.mode == "tls" and find_pair(cert_dir, SERVER) is None:
            make_own(cert_dir, self.node_id, self.config.internal_grpc.listen.rpartition(":")[0])
            logger.warning(
                "node.certificate_made",
                message=f"cert_dir had no certificate, so this node made its own. Copy {cert_dir / SERVER[0][0]} to "
                f"the hub, as {NODES}/{self.node_id}.pem in its cert_dir.",
            )
        if (until := ends_at(self._load_server().certificate)) <= datetime.now(UTC):
            logger.warning(
                "node.certificate_expired", message=f"The certificate in {cert_dir} expired at {until.isoformat()}."
            )

    def _prepare_secret(self) -> None:
        is_there = find_auth_secrets(self.config) is not None
        secrets = ensure_auth_secrets(self.config)
        path = self.config.cert_dir / AUTH_FILE
        if not is_there:
            logger.warning(
                "node.secret_made",
                message=f"internal_grpc.auth.shared_secret is not set, so this node made one. The hub needs the same: "
                f"copy {path} into its cert_dir.",
            )
        elif secrets.is_weak:
            logger.warning("node.secret_weak", message="internal_grpc.auth.shared_secret is short; use 32 bytes.")
