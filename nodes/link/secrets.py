"""The secrets that hub and nodes share by configuration: from the settings, or from 0600 files in ``cert_dir``.

A file holds one secret in each line: the first is the one to use, the others are accepted as well, so that
a new one can be brought to every machine before the old one is dropped.
"""

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nodes.contract.config import Config
from nodes.contract.errors import ConfigError

AUTH_FILE: Final = "auth_secret.txt"
BOOTSTRAP_FILE: Final = "bootstrap_token.txt"
SECRET_BYTES: Final = 32
WEAK_BYTES: Final = 16
_MOST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Secrets:
    """``current`` signs; all verify."""

    current: str = field(repr=False)
    previous: tuple[str, ...] = field(default=(), repr=False)

    @property
    def all(self) -> tuple[str, ...]:
        return (self.current, *self.previous)

    @property
    def is_weak(self) -> bool:
        return len(self.current.encode()) < WEAK_BYTES


def kid_of(secret: str) -> str:
    """Names a secret without telling it, so that either end of a rotation finds the right one."""
    return hashlib.sha256(b"agenthub kid v1\0" + secret.encode()).hexdigest()[:16]


def find_auth_secrets(config: Config) -> Secrets | None:
    """Configured, or in the file; None if there is none yet. Raises ``ConfigError``."""
    setting = config.internal_grpc.auth
    previous = [value.get_secret_value().strip() for value in setting.previous_secrets]
    return _find(setting.shared_secret.get_secret_value(), config.cert_dir / AUTH_FILE, previous)


def find_bootstrap_token(config: Config) -> Secrets | None:
    """As ``find_auth_secrets``."""
    return _find(config.internal_grpc.bootstrap.token.get_secret_value(), config.cert_dir / BOOTSTRAP_FILE, [])


def ensure_auth_secrets(config: Config) -> Secrets:
    """Configured, from the file, or made now. Raises ``ConfigError``."""
    return find_auth_secrets(config) or _make(config.cert_dir / AUTH_FILE)


def ensure_bootstrap_token(config: Config) -> Secrets:
    """As ``ensure_auth_secrets``. The hub's to make: a node is given it."""
    return find_bootstrap_token(config) or _make(config.cert_dir / BOOTSTRAP_FILE)


def _find(configured: str, path: Path, previous: list[str]) -> Secrets | None:
    held = [configured.strip()] if configured.strip() else _read(path)
    found = [*dict.fromkeys(secret for secret in (*held, *previous) if secret)]
    return Secrets(found[0], tuple(found[1:])) if held else None


def _read(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"{path} cannot be read ({why}). It holds one secret in each line.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _make(path: Path) -> Secrets:
    """Written beside and linked into place, so that of several processes one wins, and none reads half a secret."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be made ({error.strerror}). Name another internal_grpc.security.cert_dir, or set "
            "internal_grpc.auth.shared_secret and internal_grpc.bootstrap.token."
        ) from error
    held = _read(path)
    if not held:
        raise ConfigError(f"{path} is empty. Write a secret into it, or remove it to have one made.")
    return Secrets(held[0], tuple(held[1:]))
