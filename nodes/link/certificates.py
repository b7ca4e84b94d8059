"""The certificates of ``internal_grpc.cert_dir``, by the names that operators give such files."""

import ipaddress
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nodes.contract.errors import ConfigError

from .credentials import Credentials

Names: TypeAlias = tuple[tuple[str, str], ...]

AUTHORITY: Final = ("ca-cert.pem", "ca.pem", "ca.crt")
NODES: Final = "nodes"
"""Below it, ``<id>.pem`` is what the node of that id alone is believed by."""
SERVER: Final[Names] = (
    ("node-cert.pem", "node-key.pem"), ("server-cert.pem", "server-key.pem"),
    ("server.crt", "server.key"), ("tls.crt", "tls.key"),
)  # fmt: skip
HUB_SERVER: Final = tuple(names for names in SERVER if names[0] != "node-cert.pem")
"""What a hub shows to actors. A node's pair, which may have been made in the hub's directory, is not the hub's."""
CLIENT: Final[Names] = (
    ("client-cert.pem", "client-key.pem"), ("hub-cert.pem", "hub-key.pem"), ("client.crt", "client.key"),
)  # fmt: skip
OWN_DAYS: Final = 3650


def find_authority(cert_dir: Path, node_id: str = "") -> bytes | None:
    """Whom to believe, in PEM; the node's own file goes before the one for all. None if there is none."""
    names = ([f"{NODES}/{node_id}.pem"] if node_id else []) + list(AUTHORITY)
    for name in names:
        content = _read(cert_dir / name)
        if content is not None:
            try:
                x509.load_pem_x509_certificates(content)
            except ValueError as error:
                raise ConfigError(f"{cert_dir / name} holds no certificate in PEM ({error}).") from error
            return content
    return None


def find_pair(cert_dir: Path, names: Names) -> Credentials | None:
    """The first certificate of ``names`` with its key; None if there is none. ``ConfigError`` for half a pair."""
    for certificate_name, key_name in names:
        certificate, key = _read(cert_dir / certificate_name), _read(cert_dir / key_name)
        if certificate is None and key is None:
            continue
        if certificate is None or key is None:
            there, missing = (key_name, certificate_name) if certificate is None else (certificate_name, key_name)
            raise ConfigError(f"{cert_dir / there} is there, but {missing} beside it is missing.")
        _check_pair(cert_dir / certificate_name, certificate, cert_dir / key_name, key)
        return Credentials(b"", certificate, key)
    return None


def make_own(cert_dir: Path, node_id: str, host: str) -> Credentials:
    """A certificate that speaks for itself, for a node that was given none; the hub is to be given a copy of it.

    It certifies nobody else, so that whoever steals it stands for this node alone.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=OWN_DAYS))
        .add_extension(x509.SubjectAlternativeName(_own_names(node_id, host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Credentials(
        b"",
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    certificate_name, key_name = SERVER[0]
    try:
        cert_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(cert_dir / key_name, made.key)
        _create(cert_dir / certificate_name, made.certificate)
    except OSError as error:
        raise ConfigError(f"No certificate can be made in {cert_dir} ({error.strerror}).") from error
    return made


def stamp_of(cert_dir: Path) -> tuple[object, ...]:
    """Differs once a file was replaced that a listening node may use."""
    names = (*AUTHORITY, *(name for pair in SERVER for name in pair))
    return tuple(stamp(cert_dir / name) for name in names)


def stamp(path: Path) -> tuple[int, ...]:
    """Differs once the file was replaced; empty if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def ends_at(certificate_pem: bytes) -> datetime:
    return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc


def names_of(certificate_pem: bytes) -> str:
    """What a certificate is called, for people and for recognising it: its subject, else its other names."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    subject = certificate.subject.rfc4514_string()
    if subject:
        return subject
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return ",".join(sorted(str(name.value) for name in names))


def listed(names: Names) -> str:
    return " or ".join(f"{certificate} with {key}" for certificate, key in names)


def _own_names(node_id: str, host: str) -> list[x509.GeneralName]:
    texts = dict.fromkeys([node_id, socket.gethostname(), socket.getfqdn(), host.strip("[]"), "localhost", "127.0.0.1"])
    names: list[x509.GeneralName] = []
    for text in texts:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            if text.isascii() and all(part.isalnum() for part in text.replace("-", "x").split(".")):
                names.append(x509.DNSName(text))
        else:
            if not address.is_unspecified:
                names.append(x509.IPAddress(address))
    return names


def _check_pair(certificate_path: Path, certificate_pem: bytes, key_path: Path, key_pem: bytes) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        raise ConfigError(f"{certificate_path} holds no certificate in PEM ({error}).") from error
    try:
        # Its numbers are not examined: they belong to the certificate, or the next line says that they do not.
        key = serialization.load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key_path} holds no private key in PEM without a passphrase ({error}).") from error
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise ConfigError(f"{key_path} is no RSA key and none on an elliptic curve; gRPC serves these two kinds.")
    if key.public_key() != certificate.public_key():
        raise ConfigError(f"{key_path} is not the key of {certificate_path}.")


def _create(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from error
