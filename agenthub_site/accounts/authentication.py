"""Who is asking: by bearer token, by session, or as the local operator. For DRF, and for ASGI scopes beside it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any, Final, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from nodes.contract.errors import InvalidToken, Unauthenticated

from .actors import Actor, ActorKind
from .address import client_address
from .errors import CsrfFailed
from .models import Membership, Token, User

OPERATOR_EXTENSION: Final = "agenthub.operator"
"""Set in a scope's extensions by the operator socket alone, after it has looked at the peer's process."""
USE_NOTED_EVERY: Final = timedelta(minutes=1)


def actor_of(user: User, address: str = "", user_agent: str = "") -> Actor:
    """The person as an actor, with their roles. One query."""
    roles = dict(Membership.objects.filter(user=user).order_by().values_list("project_id", "role"))
    return Actor(
        ActorKind.USER, str(user.pk), user.username, user.is_superuser, roles, address=address, user_agent=user_agent
    )


def request_actor(request: HttpRequest | Request) -> Actor:
    """The actor behind a request of Django's or DRF's, made once per request. ``Unauthenticated`` if there is none."""
    plain = request._request if isinstance(request, Request) else request
    actor: Actor | None = getattr(plain, "_actor", None)
    if actor is None:
        if not isinstance(request.user, User):
            raise Unauthenticated()
        actor = actor_of(request.user, request_address(plain), plain.headers.get("User-Agent", ""))
        plain._actor = actor  # type: ignore[attr-defined]
    return actor


def forget_actor(request: Request) -> None:
    """Have the actor made anew: what was just done changed its roles."""
    vars(request._request).pop("_actor", None)


def request_address(request: HttpRequest) -> str:
    """The client's address, seen through trusted proxies; empty for the operator's socket."""
    forwarded = request.headers.get("X-Forwarded-For", "")
    return client_address(request.META.get("REMOTE_ADDR") or "", forwarded, settings.CONFIG.server.trusted_proxies)


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer aht_…``."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        secret = bearer_of(request.headers.get("Authorization", ""))
        if secret is None:
            return None
        token = find_token(secret)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class LocalOperatorAuthentication(BaseAuthentication):
    """Whoever came through the operator's socket in the home speaks for the first root operator."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        scope: Mapping[str, Any] = getattr(request._request, "scope", {})
        operator = find_operator(scope)
        return (operator, None) if operator else None


class SessionAuthentication(BaseAuthentication):
    """Django's session, with the CSRF token that a browser must then bring."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        user = getattr(request._request, "user", None)
        if not isinstance(user, User) or not user.is_active:
            return None
        check_csrf(request._request)
        return user, None


class _Csrf(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def check_csrf(request: HttpRequest) -> None:
    """Raise ``CsrfFailed`` unless the request is safe or brings the session's CSRF token."""
    check = _Csrf(lambda _: cast("Any", None))
    check.process_request(request)
    reason = check.process_view(request, cast("Any", None), (), {})
    if reason:
        raise CsrfFailed(reason=str(reason))


def bearer_of(header: str) -> str | None:
    """The secret in an ``Authorization`` header; None if there is none. ``InvalidToken`` for a malformed one."""
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    if not secret.strip() or len(secret) > 256:
        raise InvalidToken()
    return secret.strip()


def find_token(secret: str) -> Token:
    """The valid token with this secret and its active user, its use noted. ``InvalidToken`` otherwise.

    Looked up by the secret's digest, so that the time it takes tells nothing of the secret.
    """
    now = timezone.now()
    token = Token.objects.select_related("user").filter(digest=Token.digest_of(secret)).first()
    if token is None or not token.is_valid(now) or not token.user.is_active:
        raise InvalidToken()
    _note_use(token, now)
    return token


def _note_use(token: Token, now: datetime) -> None:
    """At most once a minute, and by one of those who come at once: reading with a token writes next to nothing."""
    due = now - USE_NOTED_EVERY
    if token.last_used_at is None or token.last_used_at < due:
        unnoted = Q(last_used_at=None) | Q(last_used_at__lt=due)
        Token.objects.filter(unnoted, pk=token.pk).update(last_used_at=now)


def find_operator(scope: Mapping[str, Any]) -> User | None:
    """The first root operator, if the scope came through the operator's socket. ``Unauthenticated`` if none exists."""
    if OPERATOR_EXTENSION not in (scope.get("extensions") or {}):
        return None
    roots = User.objects.filter(is_superuser=True, is_active=True)
    operator = roots.filter(username="root").first() or roots.order_by("id").first()
    if operator is None:
        raise Unauthenticated("There is no active root operator to act for. Start 'agenthub up' once to make one.")
    return operator


async def actor_from_scope(scope: Mapping[str, Any]) -> Actor | None:
    """The actor behind an ASGI scope: bearer token, operator's socket or session; None if there is none of them.

    ``InvalidToken`` for a bad bearer. A caller that lets a session write must check the origin itself.
    """
    headers = {name: value for name, value in scope.get("headers", ()) if name in _HEADERS}
    peer = (scope.get("client") or ("",))[0]
    address = client_address(
        peer or "", headers.get(b"x-forwarded-for", b"").decode("latin-1"), settings.CONFIG.server.trusted_proxies
    )
    return await _actor_of_headers(
        scope,
        headers.get(b"authorization", b"").decode("latin-1"),
        headers.get(b"cookie", b"").decode("latin-1"),
        address,
        headers.get(b"user-agent", b"").decode("latin-1"),
    )


_HEADERS = {b"authorization", b"cookie", b"user-agent", b"x-forwarded-for"}


@sync_to_async
def _actor_of_headers(
    scope: Mapping[str, Any], authorization: str, cookies: str, address: str, user_agent: str
) -> Actor | None:
    secret = bearer_of(authorization)
    user = find_token(secret).user if secret is not None else find_operator(scope) or _user_of_cookies(cookies)
    return actor_of(user, address, user_agent) if user else None


def _user_of_cookies(header: str) -> User | None:
    try:
        cookie = SimpleCookie(header).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return None
    if cookie is None:
        return None
    session = import_module(settings.SESSION_ENGINE).SessionStore(cookie.value)
    if session.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    try:
        user = User.objects.filter(pk=session.get(SESSION_KEY), is_active=True).first()
    except ValidationError:
        return None
    # A changed password ends the sessions that were opened with the old one.
    is_current = user is not None and constant_time_compare(
        session.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash()
    )
    return user if is_current else None
