"""Whose certificate it is, where nodes and operators have theirs of one authority."""

import ssl

from nodes.contract.hosts import is_loopback

from .link.diagnose import Shown
from .models import Node
from .pki import node_identity


def node_of_certificate(pem: bytes) -> str:
    """What the node is called whose certificate this is; empty if it is no node's.

    It is one that our own authority issued to a node, or one with which a registered node would be believed: by its
    id, or by the name under which the hub dials it. Removed nodes count, since a key that was stolen may be theirs.
    """
    shown = Shown.of(ssl.PEM_cert_to_DER_cert(pem.decode("ascii")))
    issued = node_identity(shown.uris)
    if issued is not None:
        return str(issued.node_id)
    for slug, *dialled in Node.objects.values_list("slug", "tls_server_name", "grpc_target"):
        if any(name == shown.subject.lower() or shown.is_for(name) for name in _names(slug, *dialled)):
            return slug
    return ""


def _names(slug: str, server_name: str, target: str) -> set[str]:
    """Loopback is not among them: it is everybody's."""
    host = target.removeprefix("https://").rpartition(":")[0].strip("[]")
    return {name.lower() for name in (slug, server_name or host) if name and not is_loopback(name)}
