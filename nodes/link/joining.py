"""What a machine and its hub say to each other when it joins or renews: the token, the proofs. No Django, no gRPC.

The secret in a token never travels: both ends derive a key from it, and a proof (HMAC) by that key
goes with the request and with the answer. So neither plain HTTP nor a proxy can forge either.
A renewal is proved by a signature of the node's present key.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from typing import ClassVar, Final
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nodes.contract.errors import Invalid

PREFIX: Final = "ahj_"
SECRET_BYTES: Final = 32
MOST_CHARS: Final = 4096
CLOCK_SECONDS: Final = 300
"""A renewal signed longer ago than this, or so far in the future, is refused."""


class NotAToken(Invalid):
    """The text is no join token."""

    code: ClassVar[str] = "join_token_malformed"
    message: ClassVar[str] = "This is not a join token: one begins with ahj_. Copy all of it, without line breaks."


@dataclass(frozen=True, slots=True)
class TokenText:
    """What is in the text that an operator copies: enough to find the right hub, and to know it."""

    id: UUID
    secret: bytes = field(repr=False)
    fingerprint: bytes
    """SHA-256 of the authority's certificate in DER."""
    addresses: tuple[str, ...]
    """host:port of the hub's gRPC door, the best first."""

    def encode(self) -> str:
        body = {
            "i": self.id.hex, "s": _encoded(self.secret), "f": _encoded(self.fingerprint), "a": list(self.addresses),
        }  # fmt: skip
        return PREFIX + _encoded(json.dumps(body, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, text: str) -> "TokenText":
        """Raises ``NotAToken``."""
        text = text.strip()
        if not text.startswith(PREFIX) or len(text) > MOST_CHARS:
            raise NotAToken()
        try:
            body = json.loads(_decoded(text.removeprefix(PREFIX)))
            found = cls(
                UUID(hex=body["i"]), _decoded(body["s"]), _decoded(body["f"]), tuple(str(part) for part in body["a"])
            )
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise NotAToken() from error
        if len(found.secret) != SECRET_BYTES or len(found.fingerprint) != hashlib.sha256().digest_size:
            raise NotAToken()
        return found


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def derive_key(token_id: UUID, secret: bytes) -> bytes:
    """The key of both proofs. The hub keeps this and not the secret; it is good for this one token only."""
    return HKDF(hashes.SHA256(), 32, salt=token_id.bytes, info=b"agenthub join v1").derive(secret)


def request_proof(
    key: bytes, token_id: UUID, name: str, csr: str, target: str = "", *, holds: UUID | None = None
) -> str:
    """Over all that the request says. What came later is left out where it is not said: older nodes know none of it."""
    later = [target, str(holds)] if holds else [target] if target else []
    return _proof(key, "enroll request", str(token_id), name, csr, *later)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The hub's answer: who the machine is from now on."""

    node: UUID
    slug: str
    generation: int
    certificate: str
    authority: str
    """All that the hub trusts, the one that issues first; PEM."""
    addresses: tuple[str, ...]

    def proof(self, key: bytes, csr: str) -> str:
        """Binds the answer to the request, so that no earlier one can be put in its place."""
        parts = (str(self.node), self.slug, str(self.generation), self.certificate, self.authority)
        return _proof(key, "enroll answer", csr, *parts, *self.addresses)


def is_same(proof: str, expected: str) -> bool:
    """Takes the same time wherever they differ."""
    return hmac.compare_digest(proof.encode("utf-8", "replace"), expected.encode())


def renewal_message(node_id: UUID, timestamp: int, csr: str) -> bytes:
    """What the node's present key signs to get its next certificate."""
    return _joined("agenthub renew v1", str(node_id), str(timestamp), csr)


def authorities_message(csr: str, authorities: str) -> bytes:
    """What an authority that the node trusts already signs, to say whom to trust from now on.

    Bound to the request, whose key is new each time, so that no earlier word can be put in its place.
    """
    return _joined("agenthub authorities v1", csr, authorities)


def _proof(key: bytes, purpose: str, *parts: str) -> str:
    return hmac.new(key, _joined(f"agenthub {purpose} v1", *parts), hashlib.sha256).hexdigest()


def _joined(*parts: str) -> bytes:
    """Each part behind its length, so that no two lists of parts look alike."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
