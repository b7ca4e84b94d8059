"""What can go wrong with a link, each with a code of its own and a message that says which end to look at."""

from nodes.contract.errors import TooLarge, Unavailable


class LinkError(Unavailable):
    """Base of everything that ends or prevents a link."""

    code = "link_error"
    message = "The link between hub and node failed."


class NodeUnreachable(LinkError):
    """Nobody answers at the address, or not in our protocol."""

    code = "node_unreachable"
    message = "The node does not answer."


class CertificateMismatch(LinkError):
    """Whoever answers cannot show the certificate of the expected node in the expected generation."""

    code = "node_certificate_mismatch"
    message = "Whoever answers at the node's address is not that node."


class PeerRefused(LinkError):
    """The other end is there and does not want us: our certificate, or what it names."""

    code = "link_refused"
    message = "The other end refused the link."


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


class FrameTooLarge(TooLarge):
    """A frame over ``FRAME_BYTES``. Not sent; the link goes on."""

    code = "frame_too_large"
    message = "A frame is larger than the link allows."
