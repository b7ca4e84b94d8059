"""Files for HTTPS are looked at before anything starts; what is wrong is said of the right one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agenthub_site.web import check_certificate
from nodes.contract.config import Config, ServerConfig
from nodes.contract.errors import ConfigError

NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hub.example.com")])


def config(certificate: Path, key: Path) -> Config:
    return Config(server=ServerConfig(tls_cert=str(certificate), tls_key=str(key)))


def make_pair(directory: Path, name: str, passphrase: bytes = b"") -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(NAME, NAME, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = directory / f"{name}.pem", directory / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))
    return paths


def test_a_pair_is_taken(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path, "a")
    assert check_certificate(config(certificate, key)) == (str(certificate), str(key))


def test_a_file_that_is_missing_is_named_with_its_key(tmp_path: Path) -> None:
    certificate, _ = make_pair(tmp_path, "a")
    with pytest.raises(ConfigError, match=r"server\.tls_key: .*none\.key cannot be read"):
        check_certificate(config(certificate, tmp_path / "none.key"))


def test_a_key_of_another_certificate_is_said_to_be_one(tmp_path: Path) -> None:
    certificate, _ = make_pair(tmp_path, "a")
    _, key = make_pair(tmp_path, "b")
    with pytest.raises(ConfigError, match=r"server\.tls_key: .*b\.key is not the key of"):
        check_certificate(config(certificate, key))


def test_a_key_with_a_passphrase_is_refused_and_asked_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without a passphrase"):
        check_certificate(config(*make_pair(tmp_path, "a", passphrase=b"secret")))


def test_what_is_no_certificate_is_said(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello")
    with pytest.raises(ConfigError, match="PEM"):
        check_certificate(config(tmp_path / "x", tmp_path / "x"))
