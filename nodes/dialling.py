"""How the hub dials a node: where it listens, and with which credentials."""

import asyncio

from .contract.config import Config
from .join import NodeRevoked
from .link.credentials import Credentials
from .link.dial import dial, dial_configured
from .link.errors import NodeUnreachable
from .link.link import HubEnd
from .link.peers import HubPeer, require_loopback
from .models import Node
from .pki import NodeIdentity


async def dial_node(config: Config, node: Node, *, timeout: float = 10.0) -> HubEnd:
    """A link to ``node``, whose row is at hand: nothing is asked of the database here.

    The caller closes it. Raises ``LinkError`` that says what is wrong, ``PeerNotConfigured`` where the hub lacks what
    it takes, ``NodeRevoked`` for a node by configuration that was, ``PkiError`` if the home has no certificates.
    """
    identity = NodeIdentity(node.pk, node.generation)
    target = _local_target(config) if node.is_local else node.grpc_target.removeprefix("https://")
    if node.is_local or node.is_joined:
        credentials = await asyncio.to_thread(Credentials.load, config.pki_dir, "hub")
        return await dial(target, credentials, identity, timeout=timeout)
    if node.revoked_at:
        raise NodeRevoked(f"{node.slug} was revoked. Enable it to have the hub dial it again.")
    require_loopback(config, target, f"the target of {node.slug}")
    peer = await asyncio.to_thread(HubPeer.load, config, node.slug)
    return await dial_configured(target, peer, identity, server_name=node.tls_server_name, timeout=timeout)


def _local_target(config: Config) -> str:
    """Where the local node listens: it writes its address when it starts."""
    try:
        return (config.node_dir / "address").read_text("ascii").strip()
    except OSError as error:
        raise NodeUnreachable("The local node has not started yet.") from error
