"""Certificates of the home: an authority of our own, the hub's certificates, the local node's; requests of others.

A node's certificate says who it is three times: the URI ``agenthub://node/<uuid>/<generation>``
for whoever reads certificates, and two DNS names, ``<uuid>.node.agenthub`` and
``<generation>.<uuid>.node.agenthub``, since a name is all that a TLS client can insist on. A hub
that dials for the second name gets this node in this generation, or no connection.

``ca.pem`` holds every authority that is trusted, the one that issues first. There is a second one only while the
authority is being replaced (``nodes.rotation``): then nodes' certificates come from the new one, and the hub's own
from the former, since that is the one which every node knows.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from nodes.contract.errors import HubError

HUB_URI = "agenthub://hub"
HUB_SERVER_NAME = "hub.agenthub"
"""The DNS name that a node insists on when it dials its hub."""
HUBS_OWN = "AgentHub"
"""What an authority is called that a hub has made itself."""
CA_DAYS = 3650
LEAF_DAYS = 90
JOINED_HOURS = 7 * 24.0
"""Life of a joined node's certificate, if nothing else is set. The node renews it by itself at half of it."""
RENEW_GRACE_DAYS = 30
"""So long after its expiry, a certificate's key may still sign for the next one, and for nothing else."""
RENEW_DAYS = 30
"""A leaf certificate with less than this left is made anew at the next start."""
_BACKDATED = timedelta(minutes=5)  # another machine's clock may be behind ours
_NODE_URI = re.compile(r"agenthub://node/([0-9a-f-]{36})/([1-9][0-9]{0,8})")


class PkiError(HubError):
    """The certificates in the home cannot be used; the message says which file and what to do."""

    code: ClassVar[str] = "bad_certificates"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Which node a certificate speaks for. A generation is revoked as a whole."""

    node_id: UUID
    generation: int

    @property
    def uri(self) -> str:
        return f"agenthub://node/{self.node_id}/{self.generation}"

    @property
    def server_name(self) -> str:
        """The DNS name that only this generation's certificates hold."""
        return f"{self.generation}.{self.node_id}.node.agenthub"

    @property
    def dns_names(self) -> list[str]:
        return [f"{self.node_id}.node.agenthub", self.server_name]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class Authorities:
    """The home's: the one that issues, and while it is being replaced the former one, which is trusted too."""

    issuing: Authority
    former: Authority | None = None

    @property
    def all(self) -> tuple[Authority, ...]:
        return (self.issuing, self.former) if self.former else (self.issuing,)

    @property
    def pem(self) -> bytes:
        return b"".join(authority.pem for authority in self.all)

    @property
    def for_the_hub(self) -> Authority:
        """Of whom the hub shows a certificate: every node knows the former one, and not yet the new one."""
        return self.former or self.issuing

    def issuer_of(self, certificate: x509.Certificate) -> Authority | None:
        """The one that issued a certificate; None if it is none of ours."""
        return next((authority for authority in self.all if is_issued_by(certificate, authority.certificate)), None)


def node_identity(names: Iterable[str]) -> NodeIdentity | None:
    """The one node named among a certificate's alternative names; None if there is none or more than one."""
    found = {match.groups() for name in names if (match := _NODE_URI.fullmatch(name))}
    if len(found) != 1:
        return None
    node_id, generation = found.pop()
    try:
        return NodeIdentity(UUID(node_id), int(generation))
    except ValueError:
        return None


def identity_of(certificate_pem: bytes) -> NodeIdentity | None:
    """The node that a certificate in PEM names."""
    return node_identity(_uris(x509.load_pem_x509_certificate(certificate_pem)))


def make_authority(name: str = HUBS_OWN, now: datetime | None = None) -> Authority:
    return _self_signed(ec.generate_private_key(ec.SECP256R1()), name, now or datetime.now(UTC))


def issue(
    authority: Authority,
    common_name: str,
    *,
    uris: Sequence[str] = (),
    dns_names: Sequence[str] = (),
    server: bool = False,
    client: bool = False,
    now: datetime | None = None,
    days: int = LEAF_DAYS,
) -> Pair:
    """A new key and a certificate for it. ``server`` and ``client`` say what it may be used for."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certify(
        authority, common_name, key.public_key(),
        uris=uris, dns_names=dns_names, server=server, client=client, now=now or datetime.now(UTC),
        life=timedelta(days=days),
    )  # fmt: skip
    return Pair(certificate, key_pem(key))


def _certify(
    authority: Authority,
    common_name: str,
    public_key: ec.EllipticCurvePublicKey,
    *,
    uris: Sequence[str],
    dns_names: Sequence[str],
    server: bool,
    client: bool,
    now: datetime,
    life: timedelta,
) -> bytes:
    names = [*(x509.DNSName(name) for name in dns_names), *(x509.UniformResourceIdentifier(uri) for uri in uris)]
    usages = _usages(server=server, client=client)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(authority.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def issue_hub(authority: Authority, now: datetime | None = None) -> Pair:
    """What the hub shows when it dials a node: good for a client, and for nothing else."""
    return issue(authority, "hub", uris=[HUB_URI], client=True, now=now)


def issue_hub_server(authority: Authority, now: datetime | None = None) -> Pair:
    """What the hub shows to nodes that dial it: good for a server, and for nothing else."""
    return issue(authority, HUB_SERVER_NAME, uris=[HUB_URI], dns_names=[HUB_SERVER_NAME], server=True, now=now)


def issue_node(authority: Authority, identity: NodeIdentity, now: datetime | None = None) -> Pair:
    """A node's certificate, for listening and for dialling alike."""
    return issue(
        authority,
        str(identity.node_id),
        uris=[identity.uri],
        dns_names=identity.dns_names,
        server=True,
        client=True,
        now=now,
    )


def certify_node(
    authority: Authority,
    identity: NodeIdentity,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime | None = None,
    life: timedelta = timedelta(hours=JOINED_HOURS),
) -> bytes:
    """A certificate for a key that was made on the node."""
    return _certify(
        authority,
        str(identity.node_id),
        public_key,
        uris=[identity.uri],
        dns_names=identity.dns_names,
        server=True,
        client=True,
        now=now or datetime.now(UTC),
        life=life,
    )


def make_request() -> tuple[bytes, bytes]:
    """A new key and a request for a certificate, both in PEM. It names nobody: who it is for, the hub says."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return key_pem(key), request.public_bytes(serialization.Encoding.PEM)


def requested_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    """The key that a request is for; all else in it is ignored. Raises ``PkiError``."""
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key = request.public_key()
        is_signed = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PkiError(f"The certificate request cannot be read: {error}.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise PkiError("The certificate request must be for a key on the curve P-256.")
    if not is_signed:
        raise PkiError("The certificate request is not signed by its own key.")
    return key


def renewal_time(certificate: x509.Certificate) -> datetime:
    """When a certificate is to be renewed: in the middle of the life that it was given."""
    begin = certificate.not_valid_before_utc + _BACKDATED
    return begin + (certificate.not_valid_after_utc - begin) / 2


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def trusted(authorities_pem: bytes) -> list[x509.Certificate]:
    """The authorities in a ``ca.pem``. Raises ``PkiError``."""
    try:
        return x509.load_pem_x509_certificates(authorities_pem)
    except ValueError as error:
        raise PkiError(f"The certificates of the authority cannot be read: {error}.") from error


def is_hubs_own(authorities_pem: bytes) -> bool:
    """Whether a hub made them, whose certificate is for ``HUB_SERVER_NAME`` then. Raises ``PkiError``."""
    names = [_common_name(certificate) for certificate in trusted(authorities_pem)]
    return all(name == HUBS_OWN or name.startswith(f"{HUBS_OWN} ") for name in names)  # a later one has its day


def trust_digest(authorities_pem: bytes) -> bytes:
    """What tells two sets of authorities apart, whatever their order. Raises ``PkiError``."""
    prints = sorted(certificate.fingerprint(hashes.SHA256()) for certificate in trusted(authorities_pem))
    return hashlib.sha256(b"".join(prints)).digest()


def fingerprint(certificate_pem: bytes) -> bytes:
    """SHA-256 of a certificate in DER. Raises ``PkiError`` for what is none."""
    try:
        return x509.load_pem_x509_certificate(certificate_pem).fingerprint(hashes.SHA256())
    except ValueError as error:
        raise PkiError(f"The certificate cannot be read: {error}.") from error


def ensure_pki(pki_dir: Path, local_node_id: UUID, generation: int = 1, now: datetime | None = None) -> None:
    """Make or renew what is missing, foreign, broken or near its expiry. Safe to call at every start, by several.

    The directory is 0700 and every file 0600; a file appears whole or not at all. Raises
    ``PkiError`` when the authority's certificate is there without its key: nothing that nodes
    trust is ever replaced silently.
    """
    now = now or datetime.now(UTC)
    pki_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    pki_dir.chmod(0o700)
    with locked(pki_dir):
        authorities = _ensure_authorities(pki_dir, now)
        ensure_leaves(pki_dir, authorities, NodeIdentity(local_node_id, generation), now)


def ensure_leaves(pki_dir: Path, authorities: Authorities, local: NodeIdentity, now: datetime) -> None:
    """Make or renew the hub's own certificates and the local node's. The caller has the directory's lock."""
    hub = authorities.for_the_hub
    wanted: tuple[tuple[str, str, Authority, Callable[[], Pair]], ...] = (
        ("hub", HUB_URI, hub, lambda: issue_hub(hub, now)),
        ("hub-server", HUB_URI, hub, lambda: issue_hub_server(hub, now)),
        ("local", local.uri, authorities.issuing, lambda: issue_node(authorities.issuing, local, now)),
    )
    for name, uri, authority, make in wanted:
        if not _is_good(pki_dir / f"{name}.pem", pki_dir / f"{name}.key", authority, uri, now):
            pair = make()
            write(pki_dir / f"{name}.key", pair.key)
            write(pki_dir / f"{name}.pem", pair.certificate)


def load_authority(pki_dir: Path) -> Authority:
    """The home's own authority that issues. Raises ``PkiError`` if it is not there or does not fit together."""
    return load_authorities(pki_dir).issuing


def load_authorities(pki_dir: Path) -> Authorities:
    """Raises ``PkiError`` if they are not there or do not fit together."""
    try:
        certificates = x509.load_pem_x509_certificates((pki_dir / "ca.pem").read_bytes())
    except (OSError, ValueError) as error:
        raise PkiError(f"The certificate authority in {pki_dir} cannot be read: {error}.") from error
    return Authorities(*(Authority(certificate, _key_of(pki_dir, certificate)) for certificate in certificates[:2]))


def own_key_path(pki_dir: Path, certificate: x509.Certificate) -> Path:
    """Where the key of an authority lies until ``ca.key``, which belongs to the former one, gets free."""
    return pki_dir / f"ca-{certificate.fingerprint(hashes.SHA256()).hex()[:16]}.key"


def _key_of(pki_dir: Path, certificate: x509.Certificate) -> ec.EllipticCurvePrivateKey:
    for path in (own_key_path(pki_dir, certificate), pki_dir / "ca.key"):
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise PkiError(f"The certificate authority in {pki_dir} cannot be read: {path.name}: {error}.") from error
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == certificate.public_key():
            return key
    raise PkiError(
        f"{pki_dir}/ca.key is missing, or not the key of {pki_dir}/ca.pem. Put back the one that belongs to it."
    )


def _ensure_authorities(pki_dir: Path, now: datetime) -> Authorities:
    certificate, key = pki_dir / "ca.pem", pki_dir / "ca.key"
    if certificate.exists() and not key.exists() and not any(pki_dir.glob("ca-*.key")):
        raise PkiError(
            f"{certificate} is there but its key {key.name} is missing. Put it back from a copy; or remove the "
            f"directory {pki_dir}: the next start makes a new authority, and every joined node must join again."
        )
    if not certificate.exists():
        # The key is written first, so that a certificate without a key is always a loss and never a half start.
        if not key.exists():
            write(key, key_pem(ec.generate_private_key(ec.SECP256R1())))
        try:
            loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        except ValueError as error:
            raise PkiError(f"{key} is not a private key: {error}. Remove it to begin anew.") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{key} is not an elliptic curve key. Remove it to begin anew.")
        write(certificate, _self_signed(loaded, "AgentHub", now).pem)
    return load_authorities(pki_dir)


def _self_signed(key: ec.EllipticCurvePrivateKey, name: str, now: datetime) -> Authority:
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _is_good(certificate_path: Path, key_path: Path, authority: Authority, uri: str, now: datetime) -> bool:
    """Whether a pair fits together, is ours, says ``uri`` and has time left."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return False
    if not is_issued_by(certificate, authority.certificate):
        return False
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return False
    left = certificate.not_valid_after_utc - now
    return uri in _uris(certificate) and certificate.not_valid_before_utc <= now and left > timedelta(days=RENEW_DAYS)


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usages(*, server: bool, client: bool) -> list[ObjectIdentifier]:
    return [ExtendedKeyUsageOID.SERVER_AUTH] * server + [ExtendedKeyUsageOID.CLIENT_AUTH] * client


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@contextmanager
def locked(pki_dir: Path) -> Iterator[None]:
    descriptor = os.open(pki_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes) -> None:
    """The whole file, 0600, on the disk under its own name or not at all."""
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
