"""The keys that the hub's own secrets are encrypted with: from the settings, or from a file in the home.

``secrets.key`` (0600) holds one key in each line: the first encrypts, the others are only read with. Keys of the
settings come before those of the file, so that a hub can go over from the one to the other.
"""

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nodes.contract.config import SECRETS_KEY_BYTES, Config

from .errors import SecretKeyUnusable

FILE: Final = "secrets.key"
_NONCE_BYTES: Final = 12
_MOST_BYTES: Final = 64 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Key:
    """``id`` names it without telling it."""

    id: str
    _value: bytes = field(repr=False)

    @classmethod
    def of(cls, text: str) -> Self:
        """From base64, in either spelling. ``ValueError`` if it is not one."""
        text = text.strip().rstrip("=").translate(str.maketrans("-_", "+/"))
        value = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        if len(value) != SECRETS_KEY_BYTES:
            raise ValueError("a key has another length")
        return cls(hashlib.sha256(b"agenthub secrets key v1\0" + value).hexdigest()[:16], value)

    @classmethod
    def new(cls) -> Self:
        return cls.of(base64.b64encode(secrets.token_bytes(SECRETS_KEY_BYTES)).decode())

    @property
    def text(self) -> str:
        return base64.b64encode(self._value).decode()

    def encrypt(self, name: str, value: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._value).encrypt(nonce, value.encode(), self._context(name))

    def decrypt(self, name: str, ciphertext: bytes) -> str | None:
        """None if it was changed, or encrypted under another name or with another key."""
        try:
            clear = AESGCM(self._value).decrypt(
                ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], self._context(name)
            )
        except (InvalidTag, ValueError):
            return None
        return clear.decode()

    @staticmethod
    def _context(name: str) -> bytes:
        return b"agenthub secret v1\0" + name.encode()


@dataclass(frozen=True, slots=True)
class Keys:
    """The first encrypts. ``is_in_file`` says where that one is kept."""

    all: tuple[Key, ...]
    is_in_file: bool

    @property
    def current(self) -> Key:
        return self.all[0]

    def find(self, key_id: str) -> Key | None:
        return next((key for key in self.all if key.id == key_id), None)


def find_keys(config: Config) -> Keys | None:
    """All keys there are; None if there is none yet. Raises ``SecretKeyUnusable``."""
    given = (config.secrets.key, *config.secrets.previous_keys)
    configured = [Key.of(text) for each in given if (text := each.get_secret_value())]
    found = tuple(dict.fromkeys([*configured, *_read(config.home / FILE)]))
    return Keys(found, is_in_file=not config.secrets.key.get_secret_value()) if found else None


def ensure_keys(config: Config) -> Keys:
    """As ``find_keys``; the first key is made now, durably. Of two at once, both get the one that was first."""
    found = find_keys(config)
    if found is None:
        _write(config.home / FILE, [Key.new()], is_new=True)
        found = find_keys(config)
    if found is None:
        raise SecretKeyUnusable(f"{config.home / FILE} is empty. Restore it from a backup, or remove it.")
    return found


def keep_in_file(config: Config, keys: Sequence[Key]) -> None:
    """Replace the file by these keys, the first to encrypt: after a crash there are the old ones or these."""
    _write(config.home / FILE, keys, is_new=False)


def _read(path: Path) -> list[Key]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if status.st_mode & _OTHERS or status.st_uid not in (os.geteuid(), 0):
                raise SecretKeyUnusable(
                    f"{path} can be read by others, or belongs to somebody else: it is not used. Make it your own and "
                    f"private (chmod 600 {path}), and replace the key with `agenthub secret rotate-key`."
                )
            lines = file.read(_MOST_BYTES).decode("ascii").split()
        return [Key.of(line) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, binascii.Error) as error:
        why = getattr(error, "strerror", None) or "it does not hold keys"
        raise SecretKeyUnusable(f"{path} cannot be used: {why}. Restore it from a backup.") from error


def _write(path: Path, keys: Sequence[Key], *, is_new: bool) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write("".join(f"{key.text}\n" for key in keys))
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                os.link(draft, path)
            else:
                draft.replace(path)
        except FileExistsError:
            pass  # another process was first; its key is the one
        finally:
            draft.unlink(missing_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise SecretKeyUnusable(
            f"{path} cannot be written ({error.strerror}). Make room or set AGENTHUB_SECRETS__KEY."
        ) from error
