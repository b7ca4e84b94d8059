"""How the hub dials a node: where it listens, and with which credentials."""

import asyncio

from .contract.config import Config
from .link.credentials import Credentials
from .link.dial import dial
from .link.errors import NodeUnreachable
from .link.link import HubEnd
from .models import Node
from .pki import NodeIdentity


async def dial_node(config: Config, node: Node) -> HubEnd:
    """A link to ``node``, whose row is at hand: nothing is asked of the database here.

    The caller closes it. Raises ``LinkError`` that says what is wrong, ``PkiError`` if the home has no certificates.
    """
    credentials = await asyncio.to_thread(Credentials.load, config.pki_dir, "hub")
    target = _local_target(config) if node.is_local else node.grpc_target.removeprefix("https://")
    return await dial(target, credentials, NodeIdentity(node.pk, node.generation), server_name=node.tls_server_name)


def _local_target(config: Config) -> str:
    """Where the local node listens: it writes its address when it starts."""
    try:
        return (config.node_dir / "address").read_text("ascii").strip()
    except OSError as error:
        raise NodeUnreachable("The local node has not started yet.") from error
