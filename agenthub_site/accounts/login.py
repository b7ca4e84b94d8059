"""Signing in with a password: a bound on wrong ones, and a note in the trail of who came."""

import hashlib
from typing import Any, Final

import structlog
from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest

from audit.services import record

from .authentication import actor_of, request_address
from .models import User

logger = structlog.get_logger(__name__)

ATTEMPTS: Final = 10
WINDOW_SECONDS: Final = 300


class PasswordBackend(ModelBackend):
    """Name and password. After ten wrong ones from an address for a name, neither is looked at for five minutes."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        address = request_address(request) if request else ""
        key = "login:" + hashlib.sha256(f"{address}\0{username}".encode("utf-8", "replace")).hexdigest()
        if cache.get(key, 0) >= ATTEMPTS:
            logger.warning("login.throttled", user=username, address=address)
            raise PermissionDenied
        user = super().authenticate(request, username, password, **kwargs)
        if user is None:
            cache.add(key, 0, WINDOW_SECONDS)
            cache.incr(key)
            logger.info("login.failed", user=username, address=address)
        else:
            cache.delete(key)
        return user

    def user_can_authenticate(self, user: AbstractBaseUser | AnonymousUser | None) -> bool:
        """Nor may a service account, whatever it got hold of."""
        return isinstance(user, User) and user.may_sign_in

    async def aauthenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        return await sync_to_async(self.authenticate)(request, username, password, **kwargs)


def note_login(sender: object, request: HttpRequest, user: User, **_: Any) -> None:
    """Receiver of Django's ``user_logged_in``."""
    by = actor_of(user, request_address(request), request.headers.get("User-Agent", ""))
    with transaction.atomic():
        record(None, "user.signed_in", by=by, of=("user", user.pk))
