"""What the provider says of itself, and its keys: fetched when first needed, kept, fetched anew when they turn."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from django.conf import settings

from nodes.contract.config import OidcConfig
from nodes.contract.errors import HubError

from ..hub_secrets import read_secret
from .errors import NotConfigured, ProviderAway, Refused
from .fetching import ask

logger = structlog.get_logger(__name__)
T = TypeVar("T")

FRESH_SECONDS: Final = 3600.0
STALE_SECONDS: Final = 24 * 3600.0
"""How long what is known may serve while the provider does not answer."""
AGAIN_SECONDS: Final = 5.0
"""After a failure nobody waits for the provider for so long."""
REFETCH_SECONDS: Final = 30.0
"""An unknown key is looked for so often at most: anybody can write a key's name into a token."""
ALGORITHMS: Final = ("RS256", "ES256")
SECRET_NAME: Final = "oidc.client_secret"  # noqa: S105 - its name
RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class Metadata:
    """Of the discovery document, what is used."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    says_issuer: bool = False
    """The callback then has to name the issuer (RFC 9207)."""
    auth_methods: tuple[str, ...] = ("client_secret_basic",)


class _Kept(Generic[T]):
    """A value that is fetched at need, by one at a time; an old one serves while a new one cannot be had."""

    def __init__(self, fetch: Callable[[], T]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._value: T | None = None
        self.fetched_at = self.failed_at = float("-inf")

    def get(self, *, newer_than: float = FRESH_SECONDS) -> T:
        now = time.monotonic()
        if self._value is not None and now - self.fetched_at < newer_than:
            return self._value
        with self._lock:
            now = time.monotonic()
            if self._value is not None and now - self.fetched_at < newer_than:
                return self._value
            if now - self.failed_at < AGAIN_SECONDS:
                return self._old(now, ProviderAway())
            try:
                self._value = self._fetch()
            except HubError as error:
                self.failed_at = time.monotonic()
                return self._old(now, error)
            self.fetched_at, self.failed_at = time.monotonic(), float("-inf")
            return self._value

    def _old(self, now: float, error: HubError) -> T:
        if self._value is None or now - self.fetched_at > STALE_SECONDS:
            raise error
        return self._value


class Provider:
    """One issuer, as this process knows it."""

    def __init__(self, config: OidcConfig) -> None:
        self.issuer = config.issuer
        self.client_id = config.client_id
        self.name = config.name
        self._configured_secret = config.client_secret.get_secret_value()
        self._metadata = _Kept(self._discover)
        self._keys = _Kept(self._fetch_keys)

    @property
    def metadata(self) -> Metadata:
        """``ProviderAway`` if it cannot be had."""
        return self._metadata.get()

    @property
    def is_away(self) -> bool:
        """Whether it did not answer a moment ago. Asks nobody."""
        return time.monotonic() - max(self._metadata.failed_at, self._keys.failed_at) < 60

    @property
    def client_secret(self) -> str:
        """The one kept encrypted, or else that of the configuration; empty for a public client."""
        return read_secret(SECRET_NAME) or self._configured_secret

    def key(self, header: dict[str, Any]) -> jwt.PyJWK:
        """The key that a token's header names. ``Refused`` if the provider has none like it."""
        found = self._find_key(self._keys.get(), header)
        if found is None:  # keys turn: look once more, but not at everybody's wish
            found = self._find_key(self._keys.get(newer_than=REFETCH_SECONDS), header)
        if found is None:
            raise Refused("unknown_key")
        return found

    @staticmethod
    def _find_key(keys: list[jwt.PyJWK], header: dict[str, Any]) -> jwt.PyJWK | None:
        fitting = [key for key in keys if key.algorithm_name == header["alg"]]
        if header.get("kid") is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.key_id == header["kid"]), None)

    def _discover(self) -> Metadata:
        status, told = ask("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if status != 200:
            raise ProviderAway()
        if told.get("issuer") != self.issuer:
            logger.error("oidc.wrong_issuer", configured=self.issuer, told=str(told.get("issuer"))[:200])
            raise Refused("wrong_issuer", f"The provider at {self.issuer} calls itself otherwise; see oidc.issuer.")
        methods = told.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise Refused("no_pkce", "The provider does not offer PKCE with S256, without which nobody signs in here.")
        auth_methods = told.get("token_endpoint_auth_methods_supported")
        return Metadata(
            self._endpoint(told, "authorization_endpoint"),
            self._endpoint(told, "token_endpoint"),
            self._endpoint(told, "jwks_uri"),
            self._endpoint(told, "userinfo_endpoint", is_needed=False),
            self._endpoint(told, "end_session_endpoint", is_needed=False),
            told.get("authorization_response_iss_parameter_supported") is True,
            tuple(map(str, auth_methods)) if isinstance(auth_methods, list) else ("client_secret_basic",),
        )

    def _endpoint(self, told: dict[str, Any], name: str, *, is_needed: bool = True) -> str:
        """An address of the document; no less safe than the issuer's own."""
        url = told.get(name)
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts and parts.hostname and parts.scheme in ("https", urlsplit(self.issuer).scheme):
            return str(url)
        if is_needed:
            raise Refused("bad_discovery", f"The provider's document has no usable {name}.")
        return ""

    def _fetch_keys(self) -> list[jwt.PyJWK]:
        status, told = ask("GET", self.metadata.jwks_uri)
        listed = told.get("keys")
        if status != 200 or not isinstance(listed, list):
            raise ProviderAway()
        return [key for key in map(_usable, listed) if key is not None]


def _usable(listed: Any) -> jwt.PyJWK | None:
    """A public signing key of the kinds that are taken; None for others, which providers list as well."""
    if not isinstance(listed, dict) or listed.get("use", "sig") != "sig":
        return None
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(listed.get("kty")))
    if algorithm is None or listed.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK(listed, algorithm=algorithm)
    except (jwt.PyJWTError, ValueError):
        return None
    public = key.key
    if isinstance(public, RSAPublicKey) and public.key_size >= RSA_BITS:
        return key
    return key if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1) else None


def provider() -> Provider:
    """The configured one. ``NotConfigured`` if there is none."""
    config: OidcConfig = settings.CONFIG.oidc
    if not config.issuer:
        raise NotConfigured()
    return _provider_of(config.model_dump_json(), id(config))


@lru_cache(maxsize=1)
def _provider_of(_text: str, _id: int) -> Provider:
    return Provider(settings.CONFIG.oidc)
