"""F22: certificates expire and the authority is replaced during runs. No link is dropped, no record is lost."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from nodes import pki
from tests.faults.joined import NAME, SECONDS, Pair, new_pair
from tests.support import eventually

pytestmark = pytest.mark.timeout(600)
LIFE_HOURS = 20 / 3600
UPDATES = 900


@pytest.fixture
def pair() -> Iterator[Pair]:
    with new_pair(AGENTHUB_INTERNAL_GRPC__CERTIFICATE_HOURS=str(LIFE_HOURS)) as pair:
        yield pair


def certificate(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate((pair.machine.home / "pki/node.pem").read_bytes())


def renewed(pair: Pair, times: int) -> None:
    """The node has got so many certificates, one after the other; each lives for 20 s."""
    for _ in range(times):
        before = certificate(pair).serial_number
        eventually(lambda before=before: certificate(pair).serial_number != before, SECONDS)  # type: ignore[misc]


def authority(pair: Pair, *arguments: str) -> Any:
    return pair.hub.ask("node", "rotate-ca", *arguments)


def trusted(home: Path) -> int:
    return len(pki.trusted((home / "pki/ca.pem").read_bytes()))


def test_runs_go_on_while_every_certificate_is_replaced(pair: Pair) -> None:
    far, near = pair.agent(), pair.agent("local")
    runs = [pair.follow(agent, f"@events {UPDATES} rate 12") for agent in (far, near)]
    for run in runs:
        run.comes_to(5)
    first, epochs, old = certificate(pair), pair.epochs(), authority(pair, "--status")["fingerprint"]

    renewed(pair, 2)  # the first one has expired, and the link that was made with it is up
    begun = authority(pair, "--overlap-hours", "1")
    assert begun["former"] == old and begun["waiting"] == [NAME]
    refused = pair.hub.cli("node", "rotate-ca", "--finish", "--json")
    assert "nodes_not_renewed" in refused.stdout
    eventually(lambda: authority(pair, "--status")["waiting"] == [], SECONDS)
    assert (trusted(pair.hub.home), trusted(pair.machine.home)) == (2, 2)
    assert "overlap_not_over" in pair.hub.cli("node", "rotate-ca", "--finish", "--json").stdout
    ended = authority(pair, "--finish", "--force")
    assert (ended["former"], ended["fingerprint"] != old) == ("", True)
    eventually(lambda: trusted(pair.machine.home) == 1, SECONDS)

    assert pair.epochs() == epochs  # the links are the ones that there were
    for run in runs:
        run.ends_whole(UPDATES)
    assert certificate(pair).not_valid_after_utc > first.not_valid_after_utc
    assert len(pair.audited("authority.rotated")) == len(pair.audited("authority.retired")) == 1

    pair.machine.stop()
    pair.machine.serve("node", "run")
    pair.until_online()  # with nothing that the former authority has issued
    pair.restart_hub()
    pair.until_online()
    pair.follow(far, "Say hello").ends()
    pair.follow(near, "Say hello").ends()


def test_an_expired_certificate_is_renewed_by_its_key(pair: Pair) -> None:
    pair.machine.stop()
    expired = certificate(pair)
    eventually(lambda: certificate(pair).not_valid_after_utc < datetime.now(UTC), SECONDS)
    pair.machine.serve("node", "run")
    eventually(lambda: certificate(pair).not_valid_after_utc > expired.not_valid_after_utc, SECONDS)
    pair.follow(pair.agent(), "Say hello").ends()
