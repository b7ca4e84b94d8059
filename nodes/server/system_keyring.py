"""The system's keyring (GNOME's, KDE's, macOS's, …), for who would rather have secrets there than in files of 0600.

Optional: the package ``keyring`` has to be installed, and a keyring to be open for the node's user.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from nodes.contract.errors import Unavailable

INSTALL: Final = "Install it (pip install 'agenthub[keyring]'), or keep the secret in a file: leave --keyring out."
OPEN: Final = "Open one for the node's user, or keep the secret in a file: leave --keyring out."


class KeyringUnavailable(Unavailable):
    code = "keyring_unavailable"


def keep(service: str, name: str, value: str) -> None:
    """In place of what it was. Raises ``KeyringUnavailable``, as all here do."""
    with _told() as keyring:
        keyring.set_password(service, name, value)


def find(service: str, name: str) -> str | None:
    with _told() as keyring:
        found: str | None = keyring.get_password(service, name)
        return found


def forget(service: str, name: str) -> None:
    """Twice is once."""
    with _told() as keyring:
        if keyring.get_password(service, name) is not None:
            keyring.delete_password(service, name)


@contextmanager
def _told(load: Callable[[str], Any] = importlib.import_module) -> Iterator[Any]:
    try:
        keyring, errors = load("keyring"), load("keyring.errors")
    except ImportError as error:
        raise KeyringUnavailable(f"The package keyring is not there. {INSTALL}") from error
    try:
        yield keyring
    except errors.KeyringError as error:
        raise KeyringUnavailable(f"The system's keyring cannot be used: {error} {OPEN}") from error
