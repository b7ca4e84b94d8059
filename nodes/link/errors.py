"""What can go wrong with a link, each with a code of its own and a message that says which end to look at."""

from enum import StrEnum
from typing import Any

from nodes.contract.errors import TooLarge, Unavailable


class Cause(StrEnum):
    """Why a link could not be opened, as ``data["cause"]``: finer than the error's code."""

    UNKNOWN_HOST = "unknown_host"
    CONNECTION_REFUSED = "connection_refused"
    NO_ROUTE = "no_route"
    CONNECT_TIMEOUT = "connect_timeout"
    FROZEN = "frozen"
    NOT_TLS = "not_tls"
    NOT_A_LINK = "not_a_link"
    SLOW = "slow"
    BUSY = "busy"
    NOT_READY = "not_ready"
    UNKNOWN_AUTHORITY = "unknown_authority"
    EXPIRED = "certificate_expired"
    NOT_YET_VALID = "certificate_not_yet_valid"
    BAD_CERTIFICATE = "bad_certificate"
    WRONG_NAME = "wrong_name"
    WRONG_NODE = "wrong_node"
    WRONG_GENERATION = "wrong_generation"
    UNAUTHORIZED = "unauthorized"


class LinkError(Unavailable):
    """Base of everything that ends or prevents a link. ``what`` happened and the ``fix`` are its text together."""

    code = "link_error"
    message = "The link between hub and node failed."

    def __init__(self, what: str | None = None, *, fix: str = "", **data: Any) -> None:
        self.what = what or self.message
        self.fix = fix
        super().__init__(f"{self.what} {fix}".rstrip(), **data)


class NodeUnreachable(LinkError):
    """Nobody answers at the address, or not in our protocol."""

    code = "node_unreachable"
    message = "failed to connect to remote node: it does not answer."


class CertificateMismatch(LinkError):
    """Whoever answers cannot show the certificate of the expected node in the expected generation."""

    code = "node_certificate_mismatch"
    message = "certificate verify failed: whoever answers at the node's address is not that node."


class PeerRefused(LinkError):
    """The other end is there and does not want us: our certificate or token, or what it names."""

    code = "link_refused"
    message = "unauthorized: the other end refused the link."


class Unauthorized(PeerRefused):
    """The node does not take the hub for its hub: another shared secret, a clock apart, or a hub of its own."""

    code = "unauthorized"
    message = "unauthorized: the node does not accept this hub."


class NodeMismatch(LinkError):
    """The node that answers is configured under another id than it is registered under."""

    code = "node_mismatch"
    message = "The node that answers has another id than the one that is registered."


class LinkClosed(LinkError):
    """The link is over. ``data["code"]`` is the peer's own word for it, if it said one."""

    code = "link_closed"
    message = "The link is closed."


class LinkSilent(LinkClosed):
    """Nothing was heard, or nothing could be sent, for too long: a frozen peer or a half-open connection."""

    code = "link_silent"
    message = "The other end of the link has gone silent."


class LinkProtocolError(LinkError):
    """The peer broke the protocol; the link is cut."""

    code, grpc = "link_protocol", "FAILED_PRECONDITION"
    message = "The other end of the link does not follow the protocol."


class ProtocolUnsupported(LinkError):
    """There is no version of the protocol that both ends speak: one of them is too old for the other."""

    code, grpc = "protocol_unsupported", "FAILED_PRECONDITION"
    message = "Hub and node are too far apart in their versions."


class FrameTooLarge(TooLarge):
    """A frame over ``FRAME_BYTES``. Not sent; the link goes on."""

    code = "frame_too_large"
    message = "A frame is larger than the link allows."
