"""Sessions of people in browsers: seen by their owner, and ended."""

from collections.abc import Sequence
from importlib import import_module

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from audit.services import record

from .actors import Actor
from .models import User
from .oidc.models import ProviderSession


def end_session(session: UserSession, *, by: Actor) -> None:
    """Sign one browser out. What it has open hears of it within 5 s."""
    with transaction.atomic():
        _delete(UserSession.objects.filter(pk=session.pk))
        record(None, "session.ended", by=by, of=("user", session.user_id), address_of_session=session.ip)


def end_sessions(user: User, *, by: Actor, keep: str | None = None, only: Sequence[str] | None = None) -> int:
    """Sign the person's browsers out: all but that with the key ``keep``, or ``only`` those; how many it were."""
    sessions = UserSession.objects.filter(user=user)
    if keep:
        sessions = sessions.exclude(session_key=keep)
    if only is not None:
        sessions = sessions.filter(session_key__in=only)
    with transaction.atomic():
        ended = _delete(sessions)
        if ended:
            record(None, "sessions.ended", by=by, of=("user", user.pk), count=ended)
    return ended


def _delete(sessions: QuerySet[UserSession]) -> int:
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    keys = list(sessions.values_list("session_key", flat=True))
    for key in keys:
        store.delete(key)
    ProviderSession.objects.filter(session_key__in=keys).delete()
    UserSession.objects.filter(session_key__in=keys).delete()
    return len(keys)
