"""Why a peer could not be dialled: gRPC says UNAVAILABLE for a dead host and for a wrong certificate alike.

The words of each failure stand here and nowhere else: the log, the connection test, the health of a node and
``agenthub doctor`` show the error's own text.
"""

import asyncio
import errno
import os
import socket
import ssl
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.x509.oid import NameOID

from nodes.contract.ids import now_us
from nodes.pki import NodeIdentity, node_identity

from .errors import Cause, CertificateMismatch, LinkError, NodeMismatch, NodeUnreachable, PeerRefused, Unauthorized
from .peers import CLOCK

SECONDS = 3.0
SKEW_SECONDS = 10
_OTHER_AUTH = "internal_grpc.auth must be the same on both machines, shared_secret, issuer and audience. "
_SEE_ITS_LOG = "The log of the node says more."
_VERIFY_CAUSES = {
    9: Cause.NOT_YET_VALID,
    10: Cause.EXPIRED,
    18: Cause.UNKNOWN_AUTHORITY,
    19: Cause.UNKNOWN_AUTHORITY,
    20: Cause.UNKNOWN_AUTHORITY,
    21: Cause.UNKNOWN_AUTHORITY,
    7: Cause.UNKNOWN_AUTHORITY,  # an authority of the same name, and another key
}
"""OpenSSL's X509_V_ERR numbers."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a certificate says of itself, for people."""

    subject: str = ""
    issuer: str = ""
    hosts: list[str] = field(default_factory=list)
    uris: list[str] = field(default_factory=list)
    begins: datetime | None = None
    ends: datetime | None = None

    @classmethod
    def of(cls, der: bytes | None) -> "Shown":
        try:
            certificate = x509.load_der_x509_certificate(der or b"")
        except ValueError:
            return cls()
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            names = x509.SubjectAlternativeName([])
        return cls(
            subject=_common(certificate.subject),
            issuer=_common(certificate.issuer),
            hosts=[*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))],
            uris=names.get_values_for_type(x509.UniformResourceIdentifier),
            begins=certificate.not_valid_before_utc,
            ends=certificate.not_valid_after_utc,
        )

    @property
    def names(self) -> str:
        return ", ".join(self.hosts) or (f"CN={self.subject}" if self.subject else "nobody")

    def is_for(self, host: str) -> bool:
        """As gRPC has it: the name itself, or ``*`` for its first label; the common name if there is no other."""
        if not self.hosts and not self.uris and not _is_address(host):
            return self.subject.lower() == host.lower()
        wildcard = f"*.{host.partition('.')[2]}"
        return any(name.lower() in (host.lower(), wildcard.lower()) for name in self.hosts)


async def diagnose(
    target: str, authority: bytes, server_name: str, expected: NodeIdentity | None, *, waited: float = 0.0
) -> LinkError:
    """Why ``target`` could not be dialled. ``expected`` is None where the hub is dialled.

    ``authority`` is empty where TLS is off. ``waited`` says that the attempt was not refused but ran out of time.
    """
    if found := await look(target, authority, server_name, expected):
        return found
    if waited:
        return NodeUnreachable(
            f"{_failed(expected)}{target} is the right one, but did not accept the link within {waited:.0f} s.",
            fix="It is overloaded, or its log says why.",
            cause=Cause.SLOW,
        )
    return PeerRefused(
        f"unauthorized: {target} shows the right certificate and refuses ours, or ended the connection at once.",
        fix="The log of the other end says why; its CA certificate must be the one that issued ours. A node in mtls "
        "asks for a certificate of the hub's own.",
        cause=Cause.UNAUTHORIZED,
    )


async def look(target: str, authority: bytes, server_name: str, expected: NodeIdentity | None) -> LinkError | None:
    """Knock with nothing but TLS and no certificate of our own; None if the right certificate is shown there."""
    host, _, port = target.rpartition(":")
    host = host.strip("[]")
    failed = _failed(expected)
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, ValueError) as error:  # a timeout is an OSError too
        return _not_reached(failed, target, error)
    await _hang_up(writer.transport)
    if not authority:
        return NodeUnreachable(
            f"{failed}{target} answers, but not in plain text as a node does.",
            fix="internal_grpc.security.mode must be the same on both machines.",
            cause=Cause.NOT_TLS,
        )
    shown = Shown()
    try:
        shown = await _shake_hands(host, int(port), server_name, _trusting_anybody())
        await _shake_hands(host, int(port), server_name, _trusting(authority))
    except TimeoutError:
        return NodeUnreachable(
            f"{failed}{target} accepts connections but does not answer: is the node server frozen?",
            fix="Look at its load and its log there, or start it again: its runs go on meanwhile.",
            cause=Cause.FROZEN,
        )
    except ssl.SSLCertVerificationError as error:
        return _not_verified(target, error, shown)
    except (ssl.SSLError, OSError) as error:
        return NodeUnreachable(
            f"{failed}{target} answers, but not as a node does: the TLS handshake failed ({_plain(error)}).",
            fix='Another program has that port, a proxy stands between, or the other end has security.mode "disabled".',
            cause=Cause.NOT_TLS,
        )
    return None if shown.is_for(server_name) else _for_another(target, shown, server_name, expected)


async def _shake_hands(host: str, port: int, server_name: str, context: ssl.SSLContext) -> Shown:
    """The certificate shown, whether or not ``context`` verifies any."""
    async with asyncio.timeout(SECONDS):
        _, writer = await asyncio.open_connection(host, port)
        tcp = writer.transport
        try:
            await writer.start_tls(context, server_hostname=server_name)
            return Shown.of(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        finally:
            await _hang_up(tcp)


def explain_refusal(error: grpc.aio.AioRpcError) -> LinkError:
    """What the other end answered in place of a link."""
    said = (error.details() or error.code().name)[:1000]
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        why = said.partition(": ")[2]
        return Unauthorized(
            f"unauthorized: {why or 'the node does not accept this hub'}.",
            fix=_skew(error) or (_OTHER_AUTH if not why or why.startswith("the token ") else "") + _SEE_ITS_LOG,
            cause=Cause.UNAUTHORIZED,
        )
    if said.startswith(NodeMismatch.code):
        return NodeMismatch(said, cause=Cause.WRONG_NODE)
    if error.code() is grpc.StatusCode.PERMISSION_DENIED:
        return PeerRefused(f"unauthorized: the link was refused: {said}", cause=Cause.UNAUTHORIZED)
    # Whoever answers may well accept us, and cannot at present.
    is_busy = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return NodeUnreachable(
        f"failed to connect: the other end answers, but opens no link: {said}",
        fix="It is overloaded, or its log says why." if is_busy else "Once that is mended there, the link comes up.",
        cause=Cause.BUSY if is_busy else Cause.NOT_READY,
    )


def _skew(error: grpc.aio.AioRpcError) -> str:
    """How far the other end's clock is from ours, if that is much."""
    sent: Any = error.trailing_metadata() or ()
    for name, value in sent:
        if name == CLOCK and str(value).isdecimal():
            seconds = round((int(value) - now_us()) / 1_000_000)
            if abs(seconds) > SKEW_SECONDS:
                side = "ahead of" if seconds > 0 else "behind"
                return f"Clock skew: the node's clock is {abs(seconds)} s {side} this one. Synchronise both (NTP)."
    return ""


def _trusting(authority: bytes) -> ssl.SSLContext:
    """As gRPC verifies: whatever is given may be the root, and the name is looked at by ourselves."""
    context = ssl.create_default_context(cadata=authority.decode("ascii", "replace"))
    context.check_hostname = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _trusting_anybody() -> ssl.SSLContext:
    """To look at a certificate that will not be trusted; nothing is sent over it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _not_reached(failed: str, target: str, error: Exception) -> NodeUnreachable:
    port = target.rpartition(":")[2]
    if isinstance(error, TimeoutError):
        return NodeUnreachable(
            f"{failed}nothing answers at {target} within {SECONDS:.0f} s; it was not refused either.",
            fix=f"A firewall that drops port {port} looks like this, and so does a machine that is down: "
            "open the port for this machine, or let the node dial the hub (agenthub node join).",
            cause=Cause.CONNECT_TIMEOUT,
        )
    if isinstance(error, socket.gaierror):
        return NodeUnreachable(
            f"{failed}no address is known for {target.rpartition(':')[0]} ({_plain(error)}).",
            fix="Check the name in grpc_target, and this machine's DNS.",
            cause=Cause.UNKNOWN_HOST,
        )
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return NodeUnreachable(
            f"{failed}there is no way to {target} ({_plain(error)}).",
            fix="Check routes, VPN and firewall between the two machines.",
            cause=Cause.NO_ROUTE,
        )
    return NodeUnreachable(
        f"{failed}nothing answers at {target} ({_plain(error)}). Is the node server running there?",
        fix="Start it, with internal_grpc.enabled = true and internal_grpc.listen on an address that others reach; "
        f"`ss -tlnp | grep {port}` there shows whether it listens.",
        cause=Cause.CONNECTION_REFUSED,
    )


def _not_verified(target: str, error: ssl.SSLCertVerificationError, shown: Shown) -> CertificateMismatch:
    cause = _VERIFY_CAUSES.get(error.verify_code, Cause.BAD_CERTIFICATE)
    if cause is Cause.EXPIRED:
        return CertificateMismatch(
            f"certificate verify failed: the certificate shown at {target} expired on {_day(shown.ends)}.",
            fix="A joined node renews by itself while it runs: look at its log, or `agenthub node rotate` there. One "
            "from files of yours needs a new file. Check the clocks of both machines too.",
            cause=cause,
        )
    if cause is Cause.NOT_YET_VALID:
        return CertificateMismatch(
            f"certificate verify failed: the certificate shown at {target} is valid from {_day(shown.begins)} on.",
            fix="Clock skew: this machine's clock is behind, or the one that made the certificate is ahead. "
            "Synchronise both (`timedatectl`).",
            cause=cause,
        )
    if cause is Cause.UNKNOWN_AUTHORITY:
        return CertificateMismatch(
            f"certificate verify failed: the certificate shown at {target} is not one of this hub's authority "
            f'({error.verify_message}); "{shown.issuer}" issued it.',
            fix="Give both machines the same CA certificate, or join the node anew with a token of this hub.",
            cause=cause,
        )
    return CertificateMismatch(
        f"certificate verify failed: the certificate shown at {target} is not valid ({error.verify_message}).",
        fix="Make it anew, as a server's certificate of this hub's authority.",
        cause=cause,
    )


def _for_another(target: str, shown: Shown, server_name: str, expected: NodeIdentity | None) -> CertificateMismatch:
    known = node_identity(shown.uris)
    if known and expected and known.node_id == expected.node_id:
        return CertificateMismatch(
            f"certificate verify failed: the node at {target} shows a certificate of generation "
            f"{known.generation}, expected {expected.generation}.",
            fix="It was revoked or joined anew since: join it with a new token (agenthub node token).",
            shown=known.uri,
            cause=Cause.WRONG_GENERATION,
        )
    if known:
        return CertificateMismatch(
            f"certificate verify failed: {target} shows a certificate of node {known.node_id}; it is not valid "
            f"for {server_name}.",
            fix="Another machine answers under this address: check the address.",
            shown=known.uri,
            cause=Cause.WRONG_NODE,
        )
    return CertificateMismatch(
        f"certificate verify failed: the certificate shown at {target} is for {shown.names}; it is not valid for "
        f"{server_name}.",
        fix=f"Set tls_server_name to a name in the certificate, or make one with subjectAltName {server_name}.",
        shown=shown.names,
        cause=Cause.WRONG_NAME,
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _failed(expected: NodeIdentity | None) -> str:
    return f"failed to connect to {'remote node' if expected else 'the hub'}: "


def _common(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "an unknown day"


def _plain(error: Exception) -> str:
    """The system's words: asyncio's own hold the address once more."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, (socket.gaierror, ssl.SSLError)):
        return os.strerror(error.errno)
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


async def _hang_up(transport: asyncio.WriteTransport) -> None:
    """At once. ``wait_closed`` never returns where a handshake was broken off; the loop's next turn closes it."""
    transport.abort()
    await asyncio.sleep(0)
