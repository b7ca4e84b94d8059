"""The home: its settings, its files' modes, its certificates."""

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from integrations.cli.where import short

from .findings import Case, Finding, ok, problem, warning
from .machine import existing

SOON = timedelta(days=7)
_PRIVATE = (".", "db.sqlite3", "secret_key", "pki", "node", "hub.sock", "internal-grpc")
_SECRETS = ("auth_secret.txt", "bootstrap_token.txt")
_JOINED = "node.pem"
_CREATED_AT_START = ("hub.pem", "hub-server.pem", "local.pem")


def check_config(case: Case) -> Iterator[Finding]:
    from nodes.contract.config import load_config
    from nodes.contract.errors import ConfigError

    where = case.where
    try:
        case.config = load_config(str(where.config) if where.config else None)
    except ConfigError as error:
        yield problem("configuration", error.text, code=error.code)
    else:
        yield ok("configuration", short(where.config) if where.config else "defaults, no file")


def check_home(case: Case) -> Iterator[Finding]:
    home = case.where.home
    nearest = existing(home)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        yield problem(
            "home", f"{home} cannot be written.", "Set AGENTHUB_HOME to a directory that you may write.", "bad_home"
        )
        return
    yield ok("home", short(home) if home.exists() else f"{short(home)}, not made yet")
    for name in _PRIVATE:
        path = home / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o007:
            yield warning("home", f"{short(path)} is open to everybody.", f"chmod o= {path}", "open_to_everybody")
    for path in [case.config.cert_dir / name for name in _SECRETS] if case.config else []:
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield warning("home", f"{short(path)} can be read by others.", f"chmod 600 {path}", "open_to_everybody")


def check_certificates(case: Case) -> Iterator[Finding]:
    """Each certificate that this home shows or trusts: still good, and for how long?"""
    now = datetime.now(UTC)
    directories = [case.where.home / "pki"]
    if case.config and case.config.cert_dir not in directories:
        directories.append(case.config.cert_dir)
    for path in sorted(path for directory in directories for path in directory.glob("*.pem")):
        yield from _check_certificate(path, now)


def _check_certificate(path: Path, now: datetime) -> Iterator[Finding]:
    try:
        held = path.read_bytes()
        if b"-----BEGIN CERTIFICATE-----" not in held:  # a key, or a request
            return
        certificate = x509.load_pem_x509_certificate(held)
    except (OSError, ValueError) as error:
        yield problem("certificate", f"{short(path)} cannot be read ({error}).", _remedy(path), "bad_certificates")
        return
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= ends:
        yield problem(
            "certificate", f"{short(path)} expired on {ends:%Y-%m-%d %H:%M} UTC.", _remedy(path),
            "certificate_expired",
        )  # fmt: skip
    elif now < begins:
        yield problem(
            "certificate", f"{short(path)} is valid from {begins:%Y-%m-%d %H:%M} UTC on: clock skew.",
            "Set this machine's clock: timedatectl set-ntp true.", "certificate_not_yet_valid",
        )  # fmt: skip
    elif ends - now < min(SOON, (ends - begins) / 4):
        yield warning(
            "certificate", f"{short(path)} expires on {ends:%Y-%m-%d %H:%M} UTC.", _remedy(path),
            "certificate_expires_soon",
        )  # fmt: skip
    else:
        yield ok("certificate", f"{short(path)} is good until {ends:%Y-%m-%d}")


def _remedy(path: Path) -> str:
    if path.name == _JOINED:
        return "`agenthub node rotate` gets a new one; long expired, join again with a new token (agenthub node token)."
    if path.name in _CREATED_AT_START:
        return "Restart the hub: it makes its own certificates anew when they are about to expire."
    return "Make a new one, or get one from whoever issued it, and restart what uses it."
