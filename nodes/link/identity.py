"""The key by which nodes by configuration know their hub again. Made once, and the same in all processes of a hub."""

import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nodes.contract.errors import ConfigError

_IDENTITY_FILE: Final = "identity.key"


def load_identity(pki_dir: Path) -> Ed25519PrivateKey:
    """The hub's own key, made once: nodes by configuration keep to the hub that they accepted first."""
    path = pki_dir / _IDENTITY_FILE
    try:
        if not path.exists():
            _make_identity(path)
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be used ({error}). It is the key by which nodes know this hub.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key. It is the key by which nodes know this hub.")
    return key


def _make_identity(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:  # another process of this hub was first
        pass
    finally:
        draft.unlink()
