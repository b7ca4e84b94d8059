"""Second factors in the trail: receivers of allauth's signals."""

from typing import Any

from allauth.mfa import signals
from allauth.mfa.models import Authenticator
from django.db import transaction
from django.http import HttpRequest

from audit.services import record

from ..login import note_failure, request_is_by
from ..models import User


def listen() -> None:
    signals.authenticator_added.connect(_added, dispatch_uid="accounts.mfa_added")
    signals.authenticator_removed.connect(_removed, dispatch_uid="accounts.mfa_removed")
    signals.authenticator_reset.connect(_reset, dispatch_uid="accounts.mfa_reset")
    signals.authentication_failed.connect(_failed, dispatch_uid="accounts.mfa_failed")


def _added(sender: object, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    _note("user.mfa_added", request, user, authenticator)


def _removed(sender: object, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    _note("user.mfa_removed", request, user, authenticator)


def _reset(sender: object, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    _note("user.mfa_reset", request, user, authenticator)


def _failed(sender: object, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    note_failure(request, user, authenticator.type)


def _note(name: str, request: HttpRequest, user: User, authenticator: Authenticator) -> None:
    with transaction.atomic():
        record(None, name, by=request_is_by(request, user), of=("user", user.pk), factor=authenticator.type)
