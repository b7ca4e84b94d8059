"""Why a node could not be dialled: gRPC says UNAVAILABLE for a dead host and for a wrong certificate alike."""

import asyncio
import contextlib
import ssl

from nodes.pki import NodeIdentity, node_identity

from .errors import CertificateMismatch, LinkError, NodeUnreachable, PeerRefused

SECONDS = 3.0


async def diagnose(
    target: str, authority: bytes, server_name: str, expected: NodeIdentity | None, *, waited: float = 0.0
) -> LinkError:
    """Knock once more, with nothing but TLS and no certificate of our own, and say what is there.

    ``waited`` says that the first attempt was not refused but ran out of time.
    """
    host, _, port = target.rpartition(":")
    host = host.strip("[]")
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(host, int(port))
    except TimeoutError:
        return NodeUnreachable(f"Nothing answers at {target} within {SECONDS:.0f} s: is the machine up and reachable?")
    except (OSError, ValueError) as error:
        return NodeUnreachable(f"Nothing answers at {target} ({_plain(error)}). Is the node server running there?")
    await _hang_up(writer)
    context = ssl.create_default_context(cadata=authority.decode())
    context.check_hostname = False
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=server_name)
    except TimeoutError:
        return NodeUnreachable(f"{target} accepts connections but does not answer: is the node server frozen?")
    except ssl.SSLCertVerificationError as error:
        return CertificateMismatch(
            f"The certificate shown at {target} is not one of this hub's authority, or not valid: "
            f"{error.verify_message}."
        )
    except (ssl.SSLError, OSError) as error:
        return NodeUnreachable(f"{target} answers, but not as a node does: the TLS handshake failed ({_plain(error)}).")
    certificate = writer.get_extra_info("peercert") or {}
    await _hang_up(writer)
    return _judge(target, certificate.get("subjectAltName", ()), server_name, expected, waited)


def _judge(
    target: str, names: tuple[tuple[str, str], ...], server_name: str, expected: NodeIdentity | None, waited: float
) -> LinkError:
    shown = node_identity(value for kind, value in names if kind == "URI")
    if server_name not in {value for kind, value in names if kind == "DNS"}:
        if shown and expected and shown.node_id == expected.node_id:
            return CertificateMismatch(
                f"The node at {target} shows a certificate of generation {shown.generation}, "
                f"expected {expected.generation}.",
                shown=shown.uri,
            )
        said = f"of node {shown.node_id}" if shown else "that names no node"
        return CertificateMismatch(
            f"{target} shows a certificate {said}; it is not valid for {server_name}.", shown=shown.uri if shown else ""
        )
    if waited:
        return NodeUnreachable(f"{target} is the right node, but did not accept the link within {waited:.0f} s.")
    return PeerRefused(
        f"{target} shows the right certificate and refuses ours, or ended the connection at once. "
        "The log of the node says why."
    )


def _plain(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
