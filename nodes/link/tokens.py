"""The tokens by which a hub shows itself to a node by configuration: JWT, HS256, good for a minute and one node."""

import secrets
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import jwt

from nodes.contract.config import AuthConfig

from .secrets import Secrets, kid_of

ALGORITHM: Final = "HS256"
SUBJECT: Final = "hub"
LIFE_SECONDS: Final = 60
LONGEST_SECONDS: Final = 300
"""A token that was made to live longer is refused."""
LEEWAY_SECONDS: Final = 30
_MOST_CHARS: Final = 4096

# The seeds' own examples are shorter than the library likes. That is the operator's choice; the node's log says so.
warnings.filterwarnings("ignore", category=jwt.InsecureKeyLengthWarning)


class BadToken(Exception):
    """What is wrong with it, for the log of the end that checks it."""

    def __init__(self, why: str, *, is_genuine: bool = False) -> None:
        super().__init__(why)
        self.is_genuine = is_genuine
        """Signed with a secret of ours, so whoever sent it may be told what is wrong."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Whom the hub believes to be dialling."""

    node_id: str
    node: UUID
    """The row of the node at the hub: another one under the same ``node_id`` is another registration."""


def sign(claims: Claims, secret: str, auth: AuthConfig, now: float | None = None) -> str:
    issued = int(now if now is not None else time.time())
    body = {
        "iss": auth.issuer, "aud": auth.audience, "sub": SUBJECT, "iat": issued, "exp": issued + LIFE_SECONDS,
        "jti": secrets.token_hex(16), "node_id": claims.node_id, "node": str(claims.node),
    }  # fmt: skip
    return jwt.encode(body, secret, algorithm=ALGORITHM, headers={"kid": kid_of(secret)})


def verify(token: str, accepted: Secrets, auth: AuthConfig) -> Claims:
    """Raises ``BadToken``."""
    return _claims(decode(token, accepted, auth, SUBJECT))


def decode(token: str, accepted: Secrets, auth: AuthConfig, subject: str) -> dict[str, Any]:
    """What a token says that is for ``subject`` and signed with one of our secrets. Raises ``BadToken``."""
    if not token or len(token) > _MOST_CHARS:
        raise BadToken("there is no token" if not token else "the token is too long")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError as error:
        raise BadToken(f"the token cannot be read: {error}") from error
    candidates = [secret for secret in accepted.all if kid is None or kid == kid_of(secret)]
    if not candidates:
        raise BadToken(f"the token is signed with another shared_secret (kid {kid!r:.40})")
    return _decode(token, candidates, auth, subject)


def _decode(token: str, candidates: Sequence[str], auth: AuthConfig, subject: str) -> dict[str, Any]:
    for secret in candidates:
        try:
            return jwt.decode(
                token, secret, algorithms=[ALGORITHM], audience=auth.audience, issuer=auth.issuer, subject=subject,
                leeway=LEEWAY_SECONDS, options={"require": ["iss", "aud", "sub", "iat", "exp"]},
            )  # fmt: skip
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidAlgorithmError as error:
            raise BadToken(f"the token is not signed by {ALGORITHM}") from error
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
            raise BadToken(
                "the token has expired, or is of the future: are the clocks the same?", is_genuine=True
            ) from error
        except jwt.PyJWTError as error:
            raise BadToken(
                f"the token does not fit: {error}", is_genuine=not isinstance(error, jwt.DecodeError)
            ) from error
    raise BadToken("the token is signed with another shared_secret")


def _claims(body: dict[str, Any]) -> Claims:
    try:
        if body["exp"] - body["iat"] > LONGEST_SECONDS:
            raise BadToken(f"the token lives longer than {LONGEST_SECONDS} s", is_genuine=True)
        return Claims(str(body["node_id"]), UUID(str(body["node"])))
    except (KeyError, TypeError, ValueError) as error:
        raise BadToken(f"the token lacks {error}, or has none that fits", is_genuine=True) from error
