"""Of whom a second factor is demanded."""

from typing import Final

from allauth.mfa.models import Authenticator
from django.conf import settings

from ..models import User

FACTORS: Final = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
"""Recovery codes are a way back to one, and none by themselves."""


def is_demanded(user: User) -> bool:
    """Whether ``login.require_mfa`` means this person."""
    demanded_of = settings.CONFIG.login.require_mfa
    return demanded_of == "all" or (demanded_of == "root" and user.is_superuser)


def has_factor(user: User) -> bool:
    return bool(Authenticator.objects.filter(user_id=user.pk, type__in=FACTORS).exists())
