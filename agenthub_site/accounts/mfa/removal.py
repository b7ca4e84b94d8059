"""Taking second factors away from somebody who lost their device and their codes."""

from allauth.mfa.models import Authenticator
from django.db import transaction

from audit.services import Fact, record_all

from ..actors import Actor
from ..models import User
from ..permissions import Can, require
from ..sessions import end_sessions


def remove_factors(user: User, *, by: Actor) -> int:
    """All of them, and every session of that person; how many they were. Root alone does."""
    require(by, Can.MANAGE_USERS)
    with transaction.atomic():
        factors = list(Authenticator.objects.filter(user_id=user.pk).order_by("pk"))
        if factors:
            Authenticator.objects.filter(pk__in=[factor.pk for factor in factors]).delete()
            end_sessions(user, by=by)
            of = ("user", user.pk)
            record_all(
                [Fact(None, "user.mfa_removed", of=of, data={"factor": factor.type}) for factor in factors], by=by
            )
    return len(factors)
