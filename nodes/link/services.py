"""The two gRPC methods that carry a link, by their full names."""

from nodes.pb.link_pb2 import DESCRIPTOR


def _method(service: str) -> str:
    return f"/{DESCRIPTOR.services_by_name[service].full_name}/Connect"


NODE_LINK = _method("NodeLink")
"""Served by a node; the hub dials."""
HUB_LINK = _method("HubLink")
"""Served by the hub; nodes dial."""

ACCEPTED = "agenthub-link"
"""The header by which the listening end says that it took the link; a refused call has no headers of its own."""
