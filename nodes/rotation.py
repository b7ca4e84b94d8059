"""Replacing the home's authority without dropping a link: both are trusted for a while, then the former one leaves.

1. ``begin``: a new authority issues nodes' certificates; ``ca.pem`` names both. The hub itself still shows
   certificates of the former one, and nodes learn of the new one by renewing theirs.
2. ``finish``, once every node has: the hub shows certificates of the new one, and the former one is gone.

``ca.pem`` is replaced as a whole, and that alone is the step: whatever else is on the disk is tidied up at any time.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives import hashes

from nodes import pki
from nodes.contract.errors import Conflict
from nodes.pki import Authorities, Authority, NodeIdentity


class RotationUnderWay(Conflict):
    code: ClassVar[str] = "rotation_under_way"
    message: ClassVar[str] = "The authority is being replaced already. End that first: agenthub node rotate-ca --finish"


class NoRotation(Conflict):
    code: ClassVar[str] = "no_rotation"
    message: ClassVar[str] = "The authority is not being replaced. Begin with: agenthub node rotate-ca"


@dataclass(frozen=True, slots=True)
class Rotation:
    """Both authorities are trusted until ``until`` at the least."""

    began: datetime
    until: datetime


def fingerprint_of(authority: Authority) -> str:
    return authority.certificate.fingerprint(hashes.SHA256()).hex()


def current(pki_dir: Path) -> Rotation | None:
    """The replacement under way, if there is one."""
    authorities = pki.load_authorities(pki_dir)
    if authorities.former is None:
        return None
    try:
        held = json.loads((pki_dir / "rotation.json").read_bytes())
        if held["authority"] == fingerprint_of(authorities.issuing):
            return Rotation(datetime.fromisoformat(held["began"]), datetime.fromisoformat(held["until"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # lost: what it says can be told from the certificate
    began = authorities.issuing.certificate.not_valid_before_utc
    return Rotation(began, began)


def begin(pki_dir: Path, local: NodeIdentity, overlap: timedelta, now: datetime) -> Authorities:
    """Make a new authority beside the present one. Raises ``RotationUnderWay``."""
    with pki.locked(pki_dir):
        present = pki.load_authorities(pki_dir)
        if present.former is not None:
            raise RotationUnderWay()
        _tidy(pki_dir, present)  # a step that was cut short earlier
        authorities = Authorities(pki.make_authority(f"{pki.HUBS_OWN} {now:%Y-%m-%d}", now), present.issuing)
        told = {
            "authority": fingerprint_of(authorities.issuing), "began": now.isoformat(),
            "until": (now + overlap).isoformat(),
        }  # fmt: skip
        pki.write(pki.own_key_path(pki_dir, authorities.issuing.certificate), pki.key_pem(authorities.issuing.key))
        pki.write(pki_dir / "rotation.json", json.dumps(told).encode())
        pki.write(pki_dir / "ca.pem", authorities.pem)
        pki.ensure_leaves(pki_dir, authorities, local, now)
        return authorities


def finish(pki_dir: Path, local: NodeIdentity, now: datetime) -> Authority:
    """Let the former authority go; returns it. A node that has not renewed must join again. Raises ``NoRotation``."""
    with pki.locked(pki_dir):
        present = pki.load_authorities(pki_dir)
        if present.former is None:
            raise NoRotation()
        authorities = Authorities(present.issuing)
        # The hub's certificates first: nodes trust both, so they may see either at any moment.
        pki.ensure_leaves(pki_dir, authorities, local, now)
        pki.write(pki_dir / "ca.pem", authorities.pem)
        _tidy(pki_dir, authorities)
        return present.former


def _tidy(pki_dir: Path, authorities: Authorities) -> None:
    """Remove the key of an authority that is not trusted any more; the one that is left goes by ``ca.key``."""
    own = pki.own_key_path(pki_dir, authorities.issuing.certificate)
    if own.exists():
        own.rename(pki_dir / "ca.key")
    for path in pki_dir.glob("ca-*.key"):
        path.unlink()
    (pki_dir / "rotation.json").unlink(missing_ok=True)
