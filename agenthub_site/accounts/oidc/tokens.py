"""Tokens of the provider: each claim checked, every doubt a refusal."""

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt

from .errors import Refused
from .provider import ALGORITHMS, Provider

SKEW_SECONDS: Final = 30
MAX_AGE_SECONDS: Final = 600
"""An ID token is looked at right after it was issued, and a logout token is sent at once."""
MAX_CHARS: Final = 16 * 1024
LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"


@dataclass(frozen=True, slots=True)
class Claims:
    """Who the provider says it was."""

    issuer: str
    subject: str
    sid: str = ""
    amr: tuple[str, ...] = ()
    raw: str = ""
    """The ID token, which the provider wants to see again at sign-out."""
    more: Mapping[str, Any] = field(default_factory=dict)


def verify_id_token(raw: object, provider: Provider, *, nonce: str) -> Claims:
    """The claims of an ID token that was issued to us, just now, for this very sign-in. ``Refused`` otherwise."""
    told = _verify(raw, provider)
    if not isinstance(told.get("nonce"), str) or not nonce or not hmac.compare_digest(told["nonce"], nonce):
        raise Refused("wrong_nonce")
    if "events" in told:
        raise Refused("not_an_id_token")
    subject = told.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise Refused("no_subject")
    return Claims(provider.issuer, subject, _text(told, "sid"), _amr(told), str(raw), told)


@dataclass(frozen=True, slots=True)
class Logout:
    """Whose sessions end: one, by ``sid``, or all of ``subject``."""

    jti: str
    subject: str
    sid: str


def verify_logout_token(raw: object, provider: Provider) -> Logout:
    """OpenID Connect Back-Channel Logout 1.0, section 2.6, but for the replay of ``jti``."""
    told = _verify(raw, provider, is_logout=True)
    events = told.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict) or "nonce" in told:
        raise Refused("not_a_logout_token")
    logout = Logout(_text(told, "jti"), _text(told, "sub"), _text(told, "sid"))
    if not logout.jti or not (logout.sid or logout.subject):
        raise Refused("not_a_logout_token")
    return logout


def _verify(raw: object, provider: Provider, *, is_logout: bool = False) -> dict[str, Any]:
    if not isinstance(raw, str) or not 0 < len(raw) <= MAX_CHARS:
        raise Refused("no_token")
    try:
        header = jwt.get_unverified_header(raw)
    except jwt.PyJWTError as error:
        raise Refused("malformed_token") from error
    if header.get("alg") not in ALGORITHMS:
        raise Refused("wrong_algorithm")
    key = provider.key(header)
    try:
        told: dict[str, Any] = jwt.decode(
            raw,
            key.key,  # and not the JWK, whose own word on its algorithm would count
            algorithms=[header["alg"]],
            issuer=provider.issuer,
            audience=provider.client_id,
            leeway=SKEW_SECONDS,
            options={"require": ["iss", "aud", "iat"] if is_logout else ["iss", "aud", "iat", "exp", "sub"]},
        )
    except jwt.PyJWTError as error:
        raise Refused(_REASONS.get(type(error), "malformed_token")) from error
    audience = told["aud"]
    others = isinstance(audience, list) and set(map(str, audience)) != {provider.client_id}
    if ("azp" in told or others) and told.get("azp") != provider.client_id:
        raise Refused("wrong_audience")
    if time.time() - float(told["iat"]) > MAX_AGE_SECONDS + SKEW_SECONDS:
        raise Refused("expired")
    return told


_REASONS: Final[dict[type[jwt.PyJWTError], str]] = {
    jwt.ExpiredSignatureError: "expired",
    jwt.ImmatureSignatureError: "not_yet_valid",
    jwt.InvalidAlgorithmError: "wrong_algorithm",
    jwt.InvalidAudienceError: "wrong_audience",
    jwt.InvalidIssuerError: "wrong_issuer",
    jwt.InvalidSignatureError: "wrong_signature",
    jwt.MissingRequiredClaimError: "missing_claim",
}


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name, "")
    if not isinstance(value, str) or len(value) > 255:
        raise Refused("malformed_token")
    return value


def _amr(told: Mapping[str, Any]) -> tuple[str, ...]:
    amr = told.get("amr")
    return tuple(map(str, amr)) if isinstance(amr, list) else ()
