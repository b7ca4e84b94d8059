"""Django's secret key: from the configuration, or made once in the home (0600)."""

import os
import secrets
from pathlib import Path

from nodes.contract.errors import ConfigError


def read_or_make_secret_key(home: Path) -> str:
    """The key in ``<home>/secret_key``; two first starts at once end with the same key."""
    path = home / "secret_key"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            draft = home / f".secret_key.{os.getpid()}"
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(64))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass  # another process was first; its key is the one
            finally:
                draft.unlink()
        return path.read_text("ascii")
    except OSError as error:
        raise ConfigError(
            f"The home {home} cannot be used: {error.strerror}. Set AGENTHUB_HOME to a directory that you may write.",
            home=str(home),
        ) from error
