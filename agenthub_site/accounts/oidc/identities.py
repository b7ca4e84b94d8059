"""Whom an identity at the provider stands for here: found, made, linked, unlinked."""

import re
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.services import record
from nodes.contract.errors import Conflict, Invalid

from ..actors import SYSTEM, Actor
from ..models import User
from ..services import create_user
from ..sessions import end_sessions
from .errors import AccountClash, Refused, UnknownPerson
from .models import Identity, ProviderSession
from .tokens import Claims

NAME_CHARS: Final = 64


def find_user(claims: Claims) -> User | None:
    """The person of this identity, its use noted. ``Refused`` if they may not sign in."""
    identity = Identity.objects.filter(issuer=claims.issuer, subject=claims.subject).select_related("user").first()
    if identity is None:
        return None
    if not identity.user.may_sign_in:
        raise Refused("inactive", "This account is not active. Ask a root operator of this hub.")
    Identity.objects.filter(pk=identity.pk).update(last_used_at=timezone.now())
    return identity.user


def make_user(claims: Claims, told: dict[str, Any]) -> User:
    """An account for somebody new, in no project and with no rights, whatever groups the provider names.

    ``UnknownPerson`` where the hub makes none; ``AccountClash`` where one is there that might be theirs.
    """
    if not settings.CONFIG.oidc.create_users:
        raise UnknownPerson()
    email = _email(told)
    if email and User.objects.filter(email__iexact=email).exists():
        raise AccountClash()
    with transaction.atomic():
        user = create_user(_free_name(told, claims.issuer), by=SYSTEM, email=email)
        _bind(user, claims, by=SYSTEM, told=told)
    return user


def link(user: User, claims: Claims, *, by: Actor) -> None:
    """Let somebody who is signed in come in by the provider too. ``Conflict`` if it stands for somebody else."""
    if by.user_id != user.pk:
        raise Invalid("You may link your own account only.")
    with transaction.atomic():
        _bind(user, claims, by=by, told=dict(claims.more))


def unlink(identity: Identity, *, by: Actor) -> None:
    """Take this way in away, and end what came in by it. ``Conflict`` if it is the person's only one."""
    if not identity.user.has_usable_password():
        raise Conflict("This is your only way to sign in. Have a root operator set a password first.")
    with transaction.atomic():
        keys = list(identity.sessions.values_list("session_key", flat=True))
        identity.delete()
        end_sessions(identity.user, by=by, only=keys)
        record(
            None,
            "identity.unlinked",
            by=by,
            of=("user", identity.user_id),
            issuer=identity.issuer,
            subject=identity.subject,
        )


def end_of_provider(subject: str, *, issuer: str, sid: str, by: Actor) -> int:
    """End the session ``sid``, or all that ``subject`` opened; how many it were.

    A provider may name both, and yet have signed nobody in under a ``sid``: then it is all of ``subject``.
    """
    found = ProviderSession.objects.filter(identity__issuer=issuer)
    if sid and (not subject or found.filter(sid=sid).exists()):
        found = found.filter(sid=sid)
    if subject:
        found = found.filter(identity__subject=subject)
    keys: dict[User, list[str]] = {}
    for session in found.select_related("identity__user"):
        keys.setdefault(session.identity.user, []).append(session.session_key)
    with transaction.atomic():
        return sum(end_sessions(user, by=by, only=ours) for user, ours in keys.items())


def _bind(user: User, claims: Claims, *, by: Actor, told: dict[str, Any]) -> None:
    label = str(told.get("email") or told.get("preferred_username") or claims.subject)
    identity = Identity(user=user, issuer=claims.issuer, subject=claims.subject, label=_plain(label))
    try:
        with transaction.atomic():
            identity.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(
            "This person at the provider belongs to another account here already, or your account to another person "
            "there. Unlink the other one first."
        ) from error
    record(None, "identity.linked", by=by, of=("user", user.pk), issuer=identity.issuer, subject=identity.subject)


def _free_name(told: dict[str, Any], issuer: str) -> str:
    """What the provider calls them, in letters that a name may have.

    A name of somebody who comes by the same provider gets a number; any other's is a clash, since it may be the same
    person, or somebody who wants to pass for them.
    """
    for claim in ("preferred_username", "email", "name"):
        name = _sanitized(str(told.get(claim) or ""))
        if name:
            break
    else:
        name = "user"
    holder = User.objects.filter(username__iexact=name).first()
    if holder is None:
        return name
    if not holder.identities.filter(issuer=issuer).exists():
        raise AccountClash()
    taken = set(User.objects.filter(username__istartswith=f"{name}-").values_list("username", flat=True))
    lowered = {one.lower() for one in taken}
    return next(
        f"{name}-{number}" for number in range(2, len(lowered) + 3) if f"{name}-{number}".lower() not in lowered
    )


def _sanitized(text: str) -> str:
    name = re.sub(r"[^a-z0-9._+-]+", "-", text.partition("@")[0].lower())
    return name.strip("-._+")[:NAME_CHARS]


def _email(told: dict[str, Any]) -> str:
    email = told.get("email")
    is_one = isinstance(email, str) and re.fullmatch(r"[^@\s\x00-\x1f]{1,64}@[A-Za-z0-9.-]{1,185}", email)
    return str(email) if is_one else ""


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:150]
