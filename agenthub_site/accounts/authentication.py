"""Who is asking: by bearer token, by session, or as the local operator. For DRF, and for ASGI scopes beside it."""

from collections.abc import Mapping
from dataclasses import replace
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any, Final, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from nodes.contract.errors import InvalidToken, Unauthenticated

from .actors import AGENT_ROLE, Actor, ActorKind, Entry, Held
from .address import client_address
from .errors import CsrfFailed
from .models import Membership, Role, Token, User
from .scopes import capabilities_of
from .tokens import find_token

OPERATOR_EXTENSION: Final = "agenthub.operator"
"""Set in a scope's extensions by the operator socket alone, after it has looked at the peer's process."""


def actor_of(user: User, address: str = "", user_agent: str = "", entry: str = "") -> Actor:
    """The person as an actor, with their roles. One query."""
    roles = dict(Membership.objects.filter(user=user).order_by().values_list("project_id", "role"))
    return Actor(
        ActorKind.USER, str(user.pk), user.username, user.is_superuser, roles, address=address,
        user_agent=user_agent, entry=entry,
    )  # fmt: skip


def actor_of_token(token: Token, address: str = "", user_agent: str = "") -> Actor:
    """Whom a token speaks for, with no more than the token has. One query at most."""
    held = Held(token.pk, capabilities_of(token.scope), token.expires_at, token.project_id)
    if token.user is None:
        if token.project_id is None:
            raise InvalidToken()
        return Actor(
            ActorKind.AGENT, str(token.agent_id), token.agent_label, roles={token.project_id: AGENT_ROLE},
            address=address, user_agent=user_agent, token=held,
            entry=Entry.API,
        )  # fmt: skip
    actor = actor_of(token.user, address, user_agent, Entry.API)
    roles, is_root = actor.roles, actor.is_root
    if held.project_id:  # a root operator's is as good as an owner's there, and nowhere else
        role = Role.OWNER if is_root else roles.get(held.project_id)
        roles, is_root = ({held.project_id: role} if role else {}), False
    return replace(actor, roles=roles, is_root=is_root, token=held)


def request_actor(request: HttpRequest | Request) -> Actor:
    """The actor behind a request of Django's or DRF's, made once per request. ``Unauthenticated`` if there is none."""
    plain = request._request if isinstance(request, Request) else request
    actor: Actor | None = getattr(plain, "_actor", None)
    if actor is None:
        user = request.user  # DRF looks for a token only when it is asked for the user
        where = (request_address(plain), plain.headers.get("User-Agent", ""))
        token: Token | None = getattr(plain, "_token", None)
        if token is not None:
            actor = actor_of_token(token, *where)
        elif isinstance(user, User) and user.may_sign_in:
            entry = _entry_of(request) if isinstance(request, Request) else Entry.WEB
            actor = actor_of(user, *where, entry)
        else:
            raise Unauthenticated()
        plain._actor = actor  # type: ignore[attr-defined]
    return actor


def _entry_of(request: Request) -> str:
    return str(getattr(request.successful_authenticator, "entry", ""))


def forget_actor(request: Request) -> None:
    """Have the actor made anew: what was just done changed its roles."""
    vars(request._request).pop("_actor", None)


def request_address(request: HttpRequest) -> str:
    """The client's address, seen through trusted proxies; empty for the operator's socket."""
    forwarded = request.headers.get("X-Forwarded-For", "")
    return client_address(request.META.get("REMOTE_ADDR") or "", forwarded, settings.CONFIG.server.trusted_proxies)


class Agent:
    """Stands where Django looks for a user. Who it is, the actor says."""

    is_authenticated = is_active = True
    is_anonymous = is_superuser = is_staff = False


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer aht_…``."""

    def authenticate(self, request: Request) -> "tuple[User | Agent, Token] | None":
        secret = bearer_of(request.headers.get("Authorization", ""))
        if secret is None:
            return None
        token = find_token(secret)
        request._request._token = token  # type: ignore[attr-defined]
        return token.user or Agent(), token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class LocalOperatorAuthentication(BaseAuthentication):
    """Whoever came through the operator's socket in the home speaks for the first root operator."""

    entry = Entry.CLI

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        scope: Mapping[str, Any] = getattr(request._request, "scope", {})
        operator = find_operator(scope)
        return (operator, None) if operator else None


class SessionAuthentication(BaseAuthentication):
    """Django's session, with the CSRF token that a browser must then bring."""

    entry = Entry.WEB

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        user = getattr(request._request, "user", None)
        if not isinstance(user, User) or not user.may_sign_in:
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
    return await _actor_of_headers(
        scope,
        headers.get(b"authorization", b"").decode("latin-1"),
        headers.get(b"cookie", b"").decode("latin-1"),
        *whence(scope),
    )


def whence(scope: Mapping[str, Any]) -> tuple[str, str]:
    """The client's address, seen through trusted proxies, and its user agent."""
    headers = {name: value for name, value in scope.get("headers", ()) if name in _HEADERS}
    peer = (scope.get("client") or ("",))[0]
    forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
    address = client_address(peer or "", forwarded, settings.CONFIG.server.trusted_proxies)
    return address, headers.get(b"user-agent", b"").decode("latin-1")


_HEADERS = {b"authorization", b"cookie", b"user-agent", b"x-forwarded-for"}


@sync_to_async
def _actor_of_headers(
    scope: Mapping[str, Any], authorization: str, cookies: str, address: str, user_agent: str
) -> Actor | None:
    secret = bearer_of(authorization)
    if secret is not None:
        return actor_of_token(find_token(secret), address, user_agent)
    operator = find_operator(scope)
    user = operator or _user_of_cookies(cookies)
    return actor_of(user, address, user_agent, Entry.CLI if operator else Entry.WEB) if user else None


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
        user = User.objects.filter(pk=session.get(SESSION_KEY), is_active=True, service_of=None).first()
    except ValidationError:
        return None
    # A changed password ends the sessions that were opened with the old one.
    is_current = user is not None and constant_time_compare(
        session.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash()
    )
    return user if is_current else None
