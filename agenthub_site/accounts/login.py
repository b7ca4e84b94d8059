"""Signing in: passwords and the bound on wrong ones, what is noted in the trail, and how allauth is used here."""

from typing import Any, Final

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.internal import ratelimit
from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse

from audit.refusals import Refusal, as_who, failures
from audit.services import record

from .actors import Actor, ActorKind
from .authentication import actor_of, request_address
from .models import User
from .oidc.models import ProviderSession

logger = structlog.get_logger(__name__)

ATTEMPTS: Final = 10
RATES: Final = {"name": f"{ATTEMPTS}/5m/key", "address": "50/5m/key", "account": "100/h/key"}
"""Wrong passwords: for one name from one address; from one address; for one name from everywhere.

The last one is wide: it bounds a guesser with many addresses, who must not easily lock the owner out.
"""
METHODS: Final = "account_authentication_methods"
"""Where allauth keeps, in the session, how its owner showed who they are."""


class PasswordBackend(ModelBackend):
    """Name and password, looked at only so often. Counted before it is looked at: many at once gain nothing."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        if username is None or password is None:
            return None
        request = request or HttpRequest()
        address = request_address(request)
        taken = _take(request, username, address)
        if taken is None:
            _note_throttled(request, User.objects.filter(username=username).first())
            raise PermissionDenied
        user = super().authenticate(request, username, password, **kwargs)
        if user is None:
            note_failure(request, User.objects.filter(username=username).first(), "password")
        else:
            _give_back(taken)
        return user

    def user_can_authenticate(self, user: AbstractBaseUser | AnonymousUser | None) -> bool:
        """Nor may a service account, whatever it got hold of."""
        return isinstance(user, User) and user.may_sign_in

    async def aauthenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        return await sync_to_async(self.authenticate)(request, username, password, **kwargs)


def _take(request: HttpRequest, username: str, address: str) -> list[ratelimit.RateLimitUsage] | None:
    """One attempt of each bound; None, and none taken, if one of them is used up."""
    taken: list[ratelimit.RateLimitUsage] = []
    name = username.encode("utf-8", "replace").hex()
    for bound, key in (("name", f"{address}|{name}"), ("address", address), ("account", name)):
        usage = ratelimit.consume(
            request, app="agenthub.login", action=bound, config=RATES, key=f"{bound}|{key}", limit_get=True
        )
        if usage is None:
            _give_back(taken, forget=False)
            return None
        taken.append(usage)
    return taken


def _give_back(taken: list[ratelimit.RateLimitUsage], *, forget: bool = True) -> None:
    """Uncount this attempt; ``forget`` earlier ones too, of this name from this address."""
    for usage in taken:
        usage.rollback()
    if forget:
        cache.delete_many([single.cache_key for single in taken[0].usage])


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """allauth as it is used here: nobody signs up, nothing is mailed, addresses are seen through trusted proxies."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Accounts are made by root operators and by invitations, through ``services.create_user``."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return request_address(request) or "127.0.0.1"

    def get_login_stages(self) -> list[str]:
        return ["agenthub_site.accounts.mfa.stages.AskStage", "agenthub_site.accounts.mfa.stages.SetUpStage"]

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("account")

    def post_login(self, request: HttpRequest, user: User, **how: Any) -> Any:
        answer = super().post_login(request, user, **how)
        told = (how.get("signal_kwargs") or {}).get("oidc")
        if told is not None:
            remember_provider(request, user, told)
        return answer

    def respond_user_inactive(self, request: HttpRequest, user: User) -> Any:
        raise PermissionDenied("This account is not active. Ask a root operator of this hub.")


def remember_provider(request: HttpRequest, user: User, told: dict[str, Any]) -> None:
    """Which session the provider opened, so that it can end it; and its token, for signing out there too."""
    request.session["oidc"] = {"id_token": told["id_token"]}
    identity = user.identities.filter(subject=told["subject"]).first()
    if identity is not None:
        ProviderSession.objects.update_or_create(
            session_key=request.session.session_key, defaults={"identity": identity, "sid": told["sid"]}
        )


def request_is_by(request: HttpRequest, user: User) -> Actor:
    """The person behind a request that signs them in or out: ``request.user`` need not be them."""
    return actor_of(user, request_address(request), request.headers.get("User-Agent", ""))


def stranger(request: HttpRequest) -> Actor:
    """Whoever is at the door and has not shown who they are."""
    return Actor(
        ActorKind.USER, "", "(not signed in)", address=request_address(request),
        user_agent=request.headers.get("User-Agent", ""),
    )  # fmt: skip


def how(request: HttpRequest) -> list[str]:
    """By what this session's owner showed who they are, in order, such as ``password``, ``totp``."""
    records = request.session.get(METHODS) or []
    return list(dict.fromkeys(str(found.get("type") or found.get("method")) for found in records))


def note_login(sender: object, request: HttpRequest, user: User, **_: Any) -> None:
    """Receiver of Django's ``user_logged_in``."""
    with transaction.atomic():
        record(None, "user.logged_in", by=request_is_by(request, user), of=("user", user.pk), how=how(request))


def note_logout(sender: object, request: HttpRequest, user: User | None, **_: Any) -> None:
    """Receiver of Django's ``user_logged_out``."""
    if user is not None:
        with transaction.atomic():
            record(None, "user.logged_out", by=request_is_by(request, user), of=("user", user.pk))


def note_failure(request: HttpRequest, user: User | None, what: str) -> None:
    """A wrong password or second factor. What stood in the field for the name is kept only if it is a name:
    people type their password there."""
    logger.info("login.failed", user=user.username if user else "", address=request_address(request), what=what)
    _note(request, user, "user.login_failed", ("what", what))


def _note_throttled(request: HttpRequest, user: User | None) -> None:
    logger.warning("login.throttled", address=request_address(request))
    _note(request, user, "user.login_throttled")


def _note(request: HttpRequest, user: User | None, name: str, *data: tuple[str, str]) -> None:
    """The first of a kind at once, the rest by the minute: a flood of guesses must not flood the trail."""
    of = ("user", str(user.pk)) if user else None
    who = (("username", user.username if user else ""), *data)
    failures.note(Refusal(name, as_who(stranger(request)), of=of, data=who))
