"""mozilla-django-oidc's backend, with everything that decides anything done strictly."""

from typing import Any
from urllib.parse import quote_plus

from django.http import HttpRequest
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from requests.auth import HTTPBasicAuth

from ..login import PasswordBackend
from ..models import User
from .errors import ProviderAway, Refused
from .fetching import ask
from .identities import find_user, make_user
from .provider import Provider, provider
from .tokens import Claims, verify_id_token


class ProviderBackend(OIDCAuthenticationBackend):  # type: ignore[misc]
    """A code becomes claims, and claims a person. Django makes one for every look at a session: nothing is fetched."""

    def __init__(self) -> None:
        # Not the parent's: it reads its settings here, and so would need the provider for each request.
        self.UserModel = User

    def authenticate(self, request: HttpRequest | None, **kwargs: Any) -> None:
        """Nobody comes in by ``django.contrib.auth.authenticate``: codes are no business of a form's."""

    def get_user(self, user_id: Any) -> User | None:
        user = PasswordBackend().get_user(user_id)
        return user if isinstance(user, User) else None

    def redeem(self, code: str, *, verifier: str, nonce: str, callback: str) -> tuple[Claims, str]:
        """What the provider says to a code: whose it is, and the access token. ``Refused``, or ``ProviderAway``."""
        if not verifier:
            raise Refused("no_pkce")
        told = self.get_token({
            "grant_type": "authorization_code", "code": code, "redirect_uri": callback, "code_verifier": verifier,
        })  # fmt: skip
        access = told.get("access_token")
        claims: Claims = self.verify_token(told.get("id_token"), nonce=nonce)
        return claims, access if isinstance(access, str) else ""

    def person(self, claims: Claims, access_token: str) -> User:
        """The account of these claims, made if the person is new and may come in."""
        user = find_user(claims)
        if user is None:
            user = make_user(claims, self.describe(claims, access_token))
        return user

    def get_token(self, payload: dict[str, str]) -> dict[str, Any]:
        op = provider()
        secret, auth = op.client_secret, None
        payload = {**payload, "client_id": op.client_id}
        if secret and "client_secret_basic" in op.metadata.auth_methods:
            auth = HTTPBasicAuth(_form_encoded(op.client_id), _form_encoded(secret))
        elif secret:
            payload["client_secret"] = secret
        status, told = ask("POST", op.metadata.token_endpoint, data=payload, auth=auth)
        if status != 200:
            raise Refused("code_refused")
        return told

    def verify_token(self, token: object, **kwargs: Any) -> Claims:
        return verify_id_token(token, provider(), nonce=kwargs.get("nonce", ""))

    def describe(self, claims: Claims, access_token: str) -> dict[str, Any]:
        """What the provider tells of the person, in the ID token and at its userinfo endpoint: for a name only."""
        op: Provider = provider()
        if not (op.metadata.userinfo_endpoint and access_token):
            return dict(claims.more)
        status, told = ask("GET", op.metadata.userinfo_endpoint, headers={"Authorization": f"Bearer {access_token}"})
        if status != 200:
            raise ProviderAway()
        if told.get("sub") != claims.subject:
            raise Refused("wrong_userinfo")
        return {**claims.more, **told}


def _form_encoded(text: str) -> str:
    """As RFC 6749 (2.3.1) wants what goes into the header."""
    return quote_plus(text)
