"""The authority is replaced on the disk step by step; what is cut short is finished, and nothing is half trusted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509

from nodes import pki, rotation
from nodes.pki import NodeIdentity
from nodes.rotation import NoRotation, RotationUnderWay

LOCAL = NodeIdentity(uuid4(), 1)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "pki"
    pki.ensure_pki(directory, LOCAL.node_id, now=NOW)
    return directory


def issuer(home: Path, name: str) -> str:
    """Which authority a certificate in the home is of: ``issuing``, ``former``, or none that is trusted."""
    authorities = pki.load_authorities(home)
    found = authorities.issuer_of(x509.load_pem_x509_certificate((home / f"{name}.pem").read_bytes()))
    return "" if found is None else "issuing" if found is authorities.issuing else "former"


def files(home: Path) -> set[str]:
    return {path.name for path in home.iterdir()}


def test_both_are_trusted_from_the_beginning_and_the_hub_is_known_by_the_former(home: Path) -> None:
    before = pki.load_authority(home)
    authorities = rotation.begin(home, LOCAL, WEEK, NOW)
    assert authorities.former and authorities.former.pem == before.pem != authorities.issuing.pem
    assert pki.load_authorities(home).pem == authorities.pem
    assert (home / "ca.pem").read_bytes() == authorities.issuing.pem + before.pem
    assert [issuer(home, name) for name in ("hub", "hub-server", "local")] == ["former", "former", "issuing"]
    assert rotation.current(home) == rotation.Rotation(NOW, NOW + WEEK)


def test_starting_again_meanwhile_changes_nothing(home: Path) -> None:
    rotation.begin(home, LOCAL, WEEK, NOW)
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    pki.ensure_pki(home, LOCAL.node_id, now=NOW + timedelta(days=1))
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


def test_leaves_that_run_out_meanwhile_are_renewed_by_the_right_one(home: Path) -> None:
    rotation.begin(home, LOCAL, WEEK, NOW)
    pki.ensure_pki(home, LOCAL.node_id, now=NOW + timedelta(days=pki.LEAF_DAYS))
    assert [issuer(home, name) for name in ("hub", "hub-server", "local")] == ["former", "former", "issuing"]


def test_in_the_end_the_new_one_is_alone_and_its_key_has_the_usual_name(home: Path) -> None:
    before = files(home)
    new = rotation.begin(home, LOCAL, WEEK, NOW).issuing
    former = rotation.finish(home, LOCAL, NOW + WEEK)
    assert former.pem != new.pem
    assert pki.load_authorities(home).pem == new.pem
    assert [issuer(home, name) for name in ("hub", "hub-server", "local")] == ["issuing"] * 3
    assert files(home) == before
    assert rotation.current(home) is None
    pki.ensure_pki(home, LOCAL.node_id, now=NOW + WEEK)


def test_it_can_be_replaced_again(home: Path) -> None:
    for step in range(3):
        rotation.begin(home, LOCAL, WEEK, NOW + step * WEEK)
        rotation.finish(home, LOCAL, NOW + step * WEEK)
    assert len(pki.trusted((home / "ca.pem").read_bytes())) == 1


def test_two_at_once_and_none_are_refused(home: Path) -> None:
    with pytest.raises(NoRotation):
        rotation.finish(home, LOCAL, NOW)
    rotation.begin(home, LOCAL, WEEK, NOW)
    with pytest.raises(RotationUnderWay):
        rotation.begin(home, LOCAL, WEEK, NOW)


def test_a_beginning_that_was_cut_short_leaves_the_present_one(home: Path) -> None:
    present = pki.load_authorities(home).pem
    stray = pki.make_authority()
    pki.write(pki.own_key_path(home, stray.certificate), pki.key_pem(stray.key))
    (home / "rotation.json").write_text('{"authority": "00"}')
    pki.ensure_pki(home, LOCAL.node_id, now=NOW)
    assert pki.load_authorities(home).pem == present
    assert rotation.current(home) is None
    rotation.begin(home, LOCAL, WEEK, NOW)
    assert not pki.own_key_path(home, stray.certificate).exists()


def test_an_end_that_was_cut_short_is_an_end(home: Path) -> None:
    new = rotation.begin(home, LOCAL, WEEK, NOW).issuing
    (home / "ca.pem").write_bytes(new.pem)  # the step itself; tidying up did not come about
    assert pki.load_authorities(home).pem == new.pem
    pki.ensure_pki(home, LOCAL.node_id, now=NOW)
    assert [issuer(home, name) for name in ("hub", "hub-server", "local")] == ["issuing"] * 3
    rotation.begin(home, LOCAL, WEEK, NOW + WEEK)
    rotation.finish(home, LOCAL, NOW + WEEK)


def test_an_overlap_whose_note_is_lost_can_still_be_ended(home: Path) -> None:
    rotation.begin(home, LOCAL, WEEK, NOW)
    (home / "rotation.json").unlink()
    now = rotation.current(home)
    assert now and now.until <= NOW


def test_the_digest_tells_sets_apart_and_not_orders() -> None:
    one, two = pki.make_authority().pem, pki.make_authority().pem
    assert pki.trust_digest(one + two) == pki.trust_digest(two + one) != pki.trust_digest(one)
