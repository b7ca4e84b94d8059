"""The home's certificates: made once, whole, private, and made anew when they run out."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from nodes import pki
from nodes.pki import NodeIdentity, PkiError, ensure_pki

FILES = ("ca.pem", "ca.key", "hub.pem", "hub.key", "local.pem", "local.key")
NODE = uuid4()
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    directory = tmp_path / "pki"
    ensure_pki(directory, NODE, now=NOW)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in FILES}


def usages(certificate: Path) -> set[x509.ObjectIdentifier]:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    return set(loaded.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_the_directory_and_its_files_are_private(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert {stat.S_IMODE((made / name).stat().st_mode) for name in FILES} == {0o600}


def test_the_node_may_serve_and_dial_and_the_hub_only_dial(made: Path) -> None:
    assert usages(made / "local.pem") == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert usages(made / "hub.pem") == {ExtendedKeyUsageOID.CLIENT_AUTH}


def test_the_nodes_certificate_names_node_and_generation(made: Path) -> None:
    assert pki.identity_of((made / "local.pem").read_bytes()) == NodeIdentity(NODE, 1)


def test_a_second_start_changes_nothing(made: Path) -> None:
    before = contents(made)
    ensure_pki(made, NODE, now=NOW + timedelta(days=1))
    assert contents(made) == before


def test_leaves_near_their_expiry_are_made_anew_and_the_authority_stays(made: Path) -> None:
    before = contents(made)
    ensure_pki(made, NODE, now=NOW + timedelta(days=pki.LEAF_DAYS - pki.RENEW_DAYS + 1))
    changed = {name for name, data in contents(made).items() if data != before[name]}
    assert changed == {"hub.pem", "hub.key", "local.pem", "local.key"}


@pytest.mark.parametrize("damage", ["missing", "garbage", "foreign key"])
def test_a_broken_leaf_is_made_anew(made: Path, damage: str) -> None:
    key = made / "local.key"
    if damage == "missing":
        key.unlink()
    else:
        key.write_bytes(b"garbage" if damage == "garbage" else (made / "hub.key").read_bytes())
    ensure_pki(made, NODE, now=NOW)
    assert pki.identity_of((made / "local.pem").read_bytes()) == NodeIdentity(NODE, 1)
    assert key.read_bytes() != (made / "hub.key").read_bytes()


def test_a_new_generation_gets_a_new_certificate(made: Path) -> None:
    ensure_pki(made, NODE, generation=2, now=NOW)
    assert pki.identity_of((made / "local.pem").read_bytes()) == NodeIdentity(NODE, 2)


def test_a_start_that_was_interrupted_is_finished(made: Path) -> None:
    (made / "ca.pem").unlink()
    ensure_pki(made, NODE, now=NOW)
    pki.load_authority(made)
    assert pki.identity_of((made / "local.pem").read_bytes()) == NodeIdentity(NODE, 1)


def test_a_lost_key_of_the_authority_is_said_and_nothing_is_replaced(made: Path) -> None:
    (made / "ca.key").unlink()
    with pytest.raises(PkiError, match=r"ca\.key is missing"):
        ensure_pki(made, NODE, now=NOW)
    assert (made / "ca.pem").exists()


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["agenthub://hub"],
        ["agenthub://node/not-a-uuid/1"],
        [f"agenthub://node/{NODE}/0"],
        [f"agenthub://node/{NODE}/1", f"agenthub://node/{uuid4()}/1"],
        [f"x-agenthub://node/{NODE}/1"],
    ],
)
def test_a_certificate_that_names_no_single_node_has_no_identity(names: list[str]) -> None:
    assert pki.node_identity(names) is None
