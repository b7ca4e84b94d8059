"""The key that signs checkpoints (``audit/key.pem`` in the home, 0600), and the list of all that ever did.

Each key but the first is vouched for by the one before it, so that whoever trusts one of them can follow. The list
is ``audit/keys.ndjson``: one key a line, public, to be kept elsewhere too.
"""

import base64
import binascii
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from nodes.contract.errors import ConfigError

from .chain import Malformed, key_statement

PRIVATE: Final = "key.pem"
LIST: Final = "keys.ndjson"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A public key. ``by`` is the key that vouches for it by ``signature``; both are empty for a first one."""

    key: str
    public: str
    at: str
    by: str = ""
    signature: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "KeyRecord":
        """Raises ``Malformed``, for a key whose name is not its own too."""
        values = [line.get(name, "") for name in ("key", "public", "at", "by", "signature")]
        if not all(isinstance(value, str) for value in values):
            raise Malformed("A key of the audit trail is not readable.")
        record = cls(*values)
        if id_of(_decoded(record.public)) != record.key:
            raise Malformed(f"The audit key {record.key!r:.40} is not what its name says.")
        return record

    def opened(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(_decoded(self.public))


@dataclass(frozen=True, slots=True)
class Signer:
    """The key in use."""

    record: KeyRecord
    _private: Ed25519PrivateKey = field(repr=False)

    @property
    def key(self) -> str:
        return self.record.key

    def sign(self, statement: bytes) -> bytes:
        return self._private.sign(statement)


def id_of(public: bytes) -> str:
    """A key's name: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(public).hexdigest()[:16]


def is_signed(key: Ed25519PublicKey, signature: str, statement: bytes) -> bool:
    try:
        key.verify(_decoded(signature), statement)
    except (InvalidSignature, Malformed):
        return False
    return True


def trusted_keys(known: Iterable[KeyRecord], offered: Iterable[KeyRecord]) -> dict[str, Ed25519PublicKey]:
    """The known keys, and those of the offered that a trusted one vouches for, directly or not."""
    trusted = {record.key: record.opened() for record in known}
    left = [record for record in offered if record.key not in trusted]
    while vouched := [record for record in left if record.by in trusted and _is_vouched(record, trusted[record.by])]:
        trusted |= {record.key: record.opened() for record in vouched}
        left = [record for record in left if record.key not in trusted]
    return trusted


def _is_vouched(record: KeyRecord, by: Ed25519PublicKey) -> bool:
    return is_signed(by, record.signature, key_statement(record.key, record.public, record.at, record.by))


def read_records(path: Path) -> list[KeyRecord]:
    """The keys listed in a file; none if there is no file. Raises ``ConfigError``."""
    try:
        lines = path.read_text("utf-8").splitlines()
        return [KeyRecord.of(json.loads(line)) for line in lines if line.strip()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"The audit keys in {path} cannot be read: {error}") from error


def load_or_make(directory: Path) -> Signer:
    """The key in use; a new one, that nobody vouches for, if the home has none. Raises ``ConfigError``."""
    path = directory / PRIVATE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _put(directory, Ed25519PrivateKey.generate(), None, is_first=True)
        private = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"The audit key {path} cannot be used: {error}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"The audit key {path} is none for Ed25519.")
    name = id_of(_raw(private))
    record = next((record for record in read_records(directory / LIST) if record.key == name), None)
    if record is None:  # the list was lost, or two made a first key at once
        record = _record(private, None)
        _append(directory / LIST, record)
    return Signer(record, private)


def rotate(directory: Path) -> Signer:
    """A new key, vouched for by the present one, whose private half is gone then. Raises ``ConfigError``."""
    present = load_or_make(directory)
    try:
        _put(directory, Ed25519PrivateKey.generate(), present, is_first=False)
    except OSError as error:
        raise ConfigError(f"The audit key in {directory} cannot be replaced: {error.strerror}.") from error
    return load_or_make(directory)


def _put(directory: Path, private: Ed25519PrivateKey, by: Signer | None, *, is_first: bool) -> None:
    draft = directory / f".{PRIVATE}.{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        os.fsync(file.fileno())
    try:
        if is_first:  # of two processes that begin at once, one wins
            os.link(draft, directory / PRIVATE)
        else:
            _append(directory / LIST, _record(private, by))
            draft.replace(directory / PRIVATE)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def _record(private: Ed25519PrivateKey, by: Signer | None) -> KeyRecord:
    raw = _raw(private)
    key, public = id_of(raw), base64.b64encode(raw).decode()
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if by is None:
        return KeyRecord(key, public, at)
    signature = base64.b64encode(by.sign(key_statement(key, public, at, by.key))).decode()
    return KeyRecord(key, public, at, by.key, signature)


def _append(path: Path, record: KeyRecord) -> None:
    append_line(path, record.as_json())


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Durably, and as a line of its own even if the last writer died within one."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raw(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("A key or signature of the audit trail is not base64.") from error
