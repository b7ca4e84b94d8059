"""Secrets of agents in the system's keyring: through the real package, over a keyring of the test's own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.errors
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail

from nodes.contract.runtime import RuntimeFailed
from nodes.server.node_secrets import NodeSecrets
from nodes.server.system_keyring import KeyringUnavailable

VALUE = "a-value-of-the-quay"
ASKED = {"TOKEN": "secret:deploy"}


class InMemory(KeyringBackend):
    priority = 1.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def delete_password(self, service: str, username: str) -> None:
        if self.held.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError


@pytest.fixture
def ring() -> Iterator[InMemory]:
    before, ring = keyring.get_keyring(), InMemory()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def test_the_value_is_in_the_keyring_and_in_no_file(home: Path, ring: InMemory) -> None:
    secrets = NodeSecrets(home / "node/secrets")
    secrets.set("deploy", VALUE, ("demo",), in_keyring=True)
    assert VALUE not in (home / "node/secrets/deploy.json").read_text() and VALUE in ring.held.values()
    assert secrets.resolve(ASKED, "demo") == {"deploy": VALUE}
    with pytest.raises(RuntimeFailed, match="does not have"):
        secrets.resolve(ASKED, "other")
    secrets.delete("deploy")
    assert ring.held == {} and secrets.all() == []


def test_set_in_a_file_again_it_leaves_the_keyring(home: Path, ring: InMemory) -> None:
    secrets = NodeSecrets(home / "node/secrets")
    secrets.set("deploy", VALUE, None, in_keyring=True)
    secrets.set("deploy", VALUE, None)
    assert ring.held == {} and secrets.resolve(ASKED, "demo") == {"deploy": VALUE}


def test_what_somebody_took_out_of_the_keyring_is_missing(home: Path, ring: InMemory) -> None:
    secrets = NodeSecrets(home / "node/secrets")
    secrets.set("deploy", VALUE, None, in_keyring=True)
    ring.held.clear()
    with pytest.raises(RuntimeFailed, match="Set it anew"):
        secrets.resolve(ASKED, "demo")


def test_without_a_keyring_it_is_refused_and_nothing_kept(home: Path, ring: InMemory) -> None:
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    secrets = NodeSecrets(home / "node/secrets")
    with pytest.raises(KeyringUnavailable, match="leave --keyring out"):
        secrets.set("deploy", VALUE, None, in_keyring=True)
    assert secrets.all() == []


def test_without_the_package_it_is_refused_with_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(KeyringUnavailable, match=r"agenthub\[keyring\]"):
        NodeSecrets(home / "node/secrets").set("deploy", VALUE, None, in_keyring=True)
