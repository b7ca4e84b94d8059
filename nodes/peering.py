"""The configured way as the hub's doors see it: is it on, and could this hub dial a node at all?"""

from dataclasses import dataclass

import structlog

from .contract.config import Config
from .contract.errors import ConfigError
from .models import Node

logger = structlog.get_logger(__name__)

TOKEN_COMMAND = "agenthub node bootstrap-token"  # noqa: S105 - a command that prints it


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What an operator needs to configure a node. The token is not in it: that is read on the hub's machine."""

    enabled: bool
    grpc_listen_addr: str
    security_mode: str
    cert_dir: str
    issuer: str
    audience: str
    token_command: str = TOKEN_COMMAND

    @classmethod
    def of(cls, config: Config) -> "Bootstrap":
        setting = config.internal_grpc
        return cls(
            setting.enabled, setting.listen, setting.security.mode, str(config.cert_dir),
            setting.auth.issuer, setting.auth.audience,
        )  # fmt: skip


def require_peer(config: Config, node: Node) -> None:
    """Raise ``PeerNotConfigured`` if the hub lacks what it takes to dial the node, whatever the node does.

    Reads a few small files, and asks nobody.
    """
    if node.direction != Node.Direction.DIAL or node.is_local or node.is_joined:
        return
    from .link.peers import HubPeer, PeerNotConfigured  # bring gRPC along, which most commands do without

    try:
        HubPeer.load(config, node.slug)
    except ConfigError as error:  # it names files, which are no business of a project's members
        logger.warning("peer.not_usable", node=node.slug, message=error.text)
        raise PeerNotConfigured(
            f"The hub cannot use the certificates or secrets that it has for {node.slug}: `agenthub doctor` on its "
            "machine, or its log, says which."
        ) from error
