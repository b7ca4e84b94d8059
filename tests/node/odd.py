"""Certificates that no honest program makes. Their signatures do not fit any more."""

from cryptography import x509
from cryptography.hazmat.primitives import serialization

_EC_KEY = bytes.fromhex("06072a8648ce3d0201")
_KEY_USAGE = bytes.fromhex("0603551d0f")
_BASIC_CONSTRAINTS = bytes.fromhex("0603551d13")


def of_no_known_key(certificate_pem: bytes) -> bytes:
    return _changed(certificate_pem, _EC_KEY, _EC_KEY[:-1] + b"\x7f")


def with_an_extension_twice(certificate_pem: bytes) -> bytes:
    return _changed(certificate_pem, _KEY_USAGE, _BASIC_CONSTRAINTS)


def _changed(certificate_pem: bytes, old: bytes, new: bytes) -> bytes:
    der = x509.load_pem_x509_certificate(certificate_pem).public_bytes(serialization.Encoding.DER)
    assert old in der
    return x509.load_der_x509_certificate(der.replace(old, new)).public_bytes(serialization.Encoding.PEM)
