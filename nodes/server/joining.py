"""The machine's side of joining and renewing, over HTTP(S). What comes back is checked by proof, not by who sent it.

A joined home holds ``node/id``, ``node/hub.json`` (where the hub is), ``pki/ca.pem`` (whom the node trusts; two while
the hub replaces its authority), and ``pki/node.pem``: certificate and key in one file, so that a renewal is one rename.
"""

import base64
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nodes import pki
from nodes.contract.errors import ConfigError, Conflict, HubError, Unavailable
from nodes.contract.hosts import bracketed, is_everywhere
from nodes.link.joining import (
    Enrolled,
    TokenText,
    authorities_message,
    derive_key,
    is_same,
    renewal_message,
    request_proof,
)

from .files import PRIVATE_DIR, write_durably
from .rundir import all_runs

ANSWER_BYTES: Final = 256 * 1024
SECONDS: Final = 30.0
_MOST_NAMED: Final = 5
MOST_FORMER: Final = 3
MOST_URL: Final = 2048
_FINAL: Final = frozenset({"node_revoked", "clock_skew", "throttled"})
"""Said by the hub itself, so asking it by another address is of no use."""
Answer = TypeVar("Answer")
CONFIG_TEXT: Final = '[server]\nrole = "node"\n'


class HubRefused(HubError):
    """The hub said no. ``data["code"]`` is its word for why."""

    code: ClassVar[str] = "hub_refused"


class NotTheHub(HubError):
    """Whoever answered does not know the token's secret, or is of another authority."""

    code: ClassVar[str] = "not_the_hub"


class HubUnreachable(Unavailable):
    code: ClassVar[str] = "hub_unreachable"


class HomeInUse(Conflict):
    code: ClassVar[str] = "home_in_use"


class HomeHoldsRuns(Conflict):
    code: ClassVar[str] = "home_holds_runs"


@dataclass(frozen=True, slots=True)
class HubPlace:
    """Where a joined node's hub is: its web door, and where to dial it, or where to wait to be dialled."""

    url: str
    addresses: tuple[str, ...]
    slug: str
    listen: str = ""
    former_urls: tuple[str, ...] = ()
    """Where its web door was before the hub said otherwise, the latest first; tried after ``url``."""

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.url, *self.former_urls)

    def moved_to(self, url: str) -> "HubPlace":
        """With its web door there; as it is, if that is no address of one."""
        url = url.rstrip("/")
        if url == self.url or not is_web_address(url):
            return self
        former = [each for each in self.urls if each != url]
        return replace(self, url=url, former_urls=tuple(former[:MOST_FORMER]))

    @classmethod
    def load(cls, node_dir: Path) -> "HubPlace | None":
        """None if this machine did not join. Raises ``ConfigError``."""
        path = node_dir / "hub.json"
        try:
            held = json.loads(path.read_bytes())
            addresses = tuple(str(each) for each in held["addresses"])
            former = tuple(str(each) for each in held.get("former_urls", ()))
            return cls(str(held["url"]), addresses, str(held["slug"]), str(held.get("listen", "")), former)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} cannot be read ({error}). Join again: agenthub node join URL --token T."
            ) from error

    def write(self, node_dir: Path) -> None:
        write_durably(node_dir / "hub.json", json.dumps(asdict(self)).encode())

    def replace(self, former: "HubPlace", node_dir: Path) -> None:
        """Durable when this returns; nothing if this machine has joined another hub meanwhile. Raises ``OSError``."""
        with suppress(ConfigError):
            if self.load(node_dir) == former:
                self.write(node_dir)


def join(home: Path, url: str, token: str, listen: str = "") -> HubPlace:
    """Make a key, have it certified, write the home. Raises ``HubError`` that says what to do.

    With ``listen`` (host:port) the hub is to dial this machine; a host that is every address stands for the one by
    which this machine reaches the hub.
    """
    text = TokenText.decode(token)
    _check_home(home)
    live = _live_runs(home)
    former = _former_id(home) or _known_as(home)
    if live and former is None:
        raise _holding(home, live)
    target = _target_of(listen, url) if listen else ""
    key_pem, csr = pki.make_request()
    key = derive_key(text.id, text.secret)
    asked = csr.decode()
    holds = former if live else None
    proof = request_proof(key, text.id, "", asked, target, holds=holds)
    body = {"token": str(text.id), "csr": asked, "proof": proof}
    if target:
        body["target"] = target
    if holds:
        body["holds"] = str(holds)
    try:
        answer = _post(url, "/api/v1/nodes/enroll", body)
    except HubRefused as error:
        if error.data.get("code") == HomeHoldsRuns.code:
            raise _holding(home, live) from error
        raise
    try:
        enrolled = Enrolled(
            UUID(answer["node"]), str(answer["name"]), int(answer["generation"]), str(answer["certificate"]),
            str(answer["authority"]), tuple(str(each) for each in answer["addresses"]),
        )  # fmt: skip
        proof = str(answer["proof"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotTheHub(f"{url} answers, but not as a hub does.") from error
    authorities = enrolled.authority.encode()
    if not is_same(proof, enrolled.proof(key, asked)) or text.fingerprint not in _fingerprints(authorities):
        raise NotTheHub(f"Whoever answers at {url} is not the hub that made this token. Nothing was written.")
    identity = pki.NodeIdentity(enrolled.node, enrolled.generation)
    _check_certificate(enrolled.certificate.encode(), authorities, identity, csr)
    if former != enrolled.node and (live := _live_runs(home)):  # begun meanwhile; or the hub is an older one
        raise _holding(home, live, "The token is used up: make a new one then.")
    place = HubPlace(url.rstrip("/"), enrolled.addresses or text.addresses, enrolled.slug, listen)
    _write_home(home, enrolled, key_pem, place)
    return place


def renew(home: Path) -> datetime:
    """Have a new key certified by the present one; when it will expire. Raises ``HubError``.

    Asked is where the hub said last that its web door is, and then where it was before.
    """
    place = HubPlace.load(home / "node")
    if place is None:
        raise ConfigError(f"This machine has not joined a hub: there is no {home / 'node/hub.json'}.")
    failed: list[HubError] = []
    for url in place.urls:
        try:
            return _renew_at(url, home)
        except (HubRefused, HubUnreachable, NotTheHub) as error:
            failed.append(error)
            if error.data.get("code") in _FINAL:
                raise
    raise failed[0]


def _renew_at(url: str, home: Path) -> datetime:
    pki_dir = home / "pki"
    held = (pki_dir / "node.pem").read_bytes()
    certificate = x509.load_pem_x509_certificate(held)
    identity = pki.identity_of(held)
    present = serialization.load_pem_private_key(held, None)
    if identity is None or not isinstance(present, ec.EllipticCurvePrivateKey):
        raise pki.PkiError(f"{pki_dir / 'node.pem'} is no node's certificate with its key. Join again.")
    key_pem, csr = pki.make_request()
    stamp = int(time.time())
    signature = present.sign(renewal_message(identity.node_id, stamp, csr.decode()), ec.ECDSA(hashes.SHA256()))
    body = {
        "node": str(identity.node_id), "csr": csr.decode(), "timestamp": stamp,
        "certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "signature": base64.b64encode(signature).decode(),
    }  # fmt: skip
    answer = _post(url, "/api/v1/nodes/renew", body)
    new = str(answer.get("certificate", "")).encode()
    present_authorities = (pki_dir / "ca.pem").read_bytes()
    authorities = _authorities_in(answer, present_authorities, csr.decode())
    _check_certificate(new, authorities, identity, csr)
    if authorities != present_authorities:  # first: whoever issued the new certificate is to be trusted before it
        write_durably(pki_dir / "ca.pem", authorities)
    write_durably(pki_dir / "node.pem", new + key_pem)
    return x509.load_pem_x509_certificate(new).not_valid_after_utc


def is_web_address(text: str) -> bool:
    """Whether it is where a hub's web door may be: https://host, with a port and a path if need be."""
    try:
        parts = urlsplit(text)
        is_door = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= MOST_URL
    return is_door and is_plain and not (parts.query or parts.fragment or "@" in parts.netloc)


def renews_in(home: Path, now: datetime | None = None) -> timedelta:
    """How long the present certificate is good before it is to be renewed: half of its life."""
    certificate = x509.load_pem_x509_certificate((home / "pki/node.pem").read_bytes())
    return pki.renewal_time(certificate) - (now or datetime.now(UTC))


def trust_of(pki_dir: Path) -> bytes:
    """The digest of whom this machine trusts; empty if that cannot be told."""
    try:
        return pki.trust_digest((pki_dir / "ca.pem").read_bytes())
    except (OSError, pki.PkiError):
        return b""


def _authorities_in(answer: dict[str, Any], present: bytes, csr: str) -> bytes:
    """Whom to trust from now on: what the hub says, if an authority that is trusted already has signed it."""
    said = str(answer.get("authorities") or "")
    if not said:  # a hub of an earlier version, which has one for good
        return present
    message = authorities_message(csr, said)
    try:
        signature = base64.b64decode(str(answer.get("proof", "")), validate=True)
    except ValueError:
        signature = b""
    if not any(_has_signed(authority, message, signature) for authority in pki.trusted(present)):
        raise NotTheHub("Whoever answers wants other authorities trusted, and no authority that is trusted says so.")
    return said.encode()


def _has_signed(authority: x509.Certificate, message: bytes, signature: bytes) -> bool:
    key = authority.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _fingerprints(authorities: bytes) -> list[bytes]:
    return [certificate.fingerprint(hashes.SHA256()) for certificate in pki.trusted(authorities)]


def _target_of(listen: str, url: str) -> str:
    host, colon, port = listen.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"--listen must be host:port, such as 0.0.0.0:50051, got {listen!r}.")
    if is_everywhere(host):
        host = _own_address(url)
    return f"https://{host}:{port}"


def _own_address(url: str) -> str:
    """By which address this machine reaches the hub; nothing is sent."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM)[0]
        with socket.socket(found[0], socket.SOCK_DGRAM) as probe:
            probe.connect(found[4])
            host = str(probe.getsockname()[0])
    except (OSError, ValueError) as error:
        raise HubUnreachable(f"No hub can be reached at {url} ({error}). Check the address.") from error
    return bracketed(host)


def _check_home(home: Path) -> None:
    """A home that holds a hub is not made a node's."""
    if (home / "db.sqlite3").exists() or (home / "pki/ca.key").exists():
        raise HomeInUse(
            f"{home} is the home of a hub. Join with another one: AGENTHUB_HOME=~/.agenthub-node agenthub node join …"
        )


def _live_runs(home: Path) -> list[str]:
    return [directory.run_id for directory in all_runs(home / "node/runs") if directory.is_locked()]


def _known_as(home: Path) -> UUID | None:
    """Which node of its hub a machine is that is one by its configuration."""
    try:
        return UUID(json.loads((home / "node/known-hub.json").read_bytes())["node"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _holding(home: Path, live: Sequence[str], more: str = "") -> HomeHoldsRuns:
    named = ", ".join(live[:_MOST_NAMED]) + (", …" if len(live) > _MOST_NAMED else "")
    return HomeHoldsRuns(
        f"{home} has live runs of another node ({named}), and joining would end them. Stop them first (agenthub cancel "
        "ID, on the hub that they are of), or join with another home: AGENTHUB_HOME=~/.agenthub-other agenthub node "
        f"join … {more}".rstrip(),
        runs=list(live),
    )


def _check_certificate(certificate_pem: bytes, authorities: bytes, identity: pki.NodeIdentity, csr: bytes) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        is_ours = certificate.public_key() == pki.requested_key(csr)
        named = pki.identity_of(certificate_pem)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise NotTheHub(f"What came as a certificate is none of the hub's: {error}.") from error
    if not any(pki.is_issued_by(certificate, authority) for authority in pki.trusted(authorities)):
        raise NotTheHub("The certificate that came is not of an authority of the hub.")
    if not is_ours or named != identity:
        raise NotTheHub("The certificate that came is not for this node's key.")


def _write_home(home: Path, enrolled: Enrolled, key_pem: bytes, place: HubPlace) -> None:
    for directory in (home, home / "node", home / "pki"):
        directory.mkdir(PRIVATE_DIR, parents=True, exist_ok=True)
    (home / "pki").chmod(PRIVATE_DIR)
    if not (home / "config.toml").exists():
        write_durably(home / "config.toml", CONFIG_TEXT.encode())
    if _former_id(home) != enrolled.node:  # another hub's epochs are not this one's
        (home / "node/epoch").unlink(missing_ok=True)
    write_durably(home / "pki/ca.pem", enrolled.authority.encode())
    write_durably(home / "pki/node.pem", enrolled.certificate.encode() + key_pem)
    write_durably(home / "node/id", f"{enrolled.node}\n".encode())
    place.write(home / "node")


def _former_id(home: Path) -> UUID | None:
    try:
        return UUID((home / "node/id").read_text("ascii").strip())
    except (OSError, ValueError):
        return None


def _post(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request, never repeated. TLS here only hides: the proofs in request and answer are what is trusted."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"The hub's address must be such as https://hub.example.com, got {url!r}.")
    deadline = time.monotonic() + SECONDS
    connection: http.client.HTTPConnection
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=SECONDS, context=context)
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    except ValueError as error:
        raise ConfigError(f"The hub's address has no port that is one: {url!r}.") from error

    def ask() -> tuple[int, bytes]:
        connection.request("POST", parts.path.rstrip("/") + path, json.dumps(body), headers)
        answer = connection.getresponse()
        content = bytearray()
        while len(content) < ANSWER_BYTES and time.monotonic() < deadline:
            part = answer.read1(ANSWER_BYTES - len(content))
            if not part:
                break
            content += part
        return answer.status, bytes(content)

    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "agenthub-node"}
    try:
        status, content = _within(SECONDS, ask)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise HubUnreachable(
            f"No hub answers at {url} ({reason}). Check the address, and that the hub runs."
        ) from error
    finally:
        _cut(connection)
    try:
        decoded = json.loads(content)
    except (ValueError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        raise NotTheHub(f"{url} answers ({status}), but not as a hub does.")
    if status >= http.client.BAD_REQUEST:
        said = decoded.get("error")
        said = said if isinstance(said, dict) else {}
        raise HubRefused(str(said.get("message") or f"The hub answered {status}."), code=str(said.get("code") or ""))
    return decoded


def _within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """What ``ask`` returns, or ``TimeoutError``. A socket's own time-out is for one operation, of any number."""
    done: Future[Answer] = Future()

    def work() -> None:
        try:
            done.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(error)

    threading.Thread(target=work, name="ask-hub", daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(f"no whole answer within {seconds:g} s") from error


def _cut(connection: http.client.HTTPConnection) -> None:
    """Close it, and wake whoever still reads from it."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
