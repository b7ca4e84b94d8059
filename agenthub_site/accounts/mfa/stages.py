"""What stands between a right password and a session: the second factor, or making one where it is demanded."""

from typing import Any, Final

from allauth.account.stages import LoginStage
from allauth.core.internal.httpkit import headed_redirect_response
from allauth.mfa.stages import AuthenticateStage
from allauth.mfa.webauthn.internal.flows import did_use_passwordless_login
from django.http import HttpRequest

from ..models import User
from .policy import has_factor, is_demanded

PROVIDER: Final = "oidc"
"""The key, in a login's ``signal_kwargs``, of what an OIDC provider said."""


def _provider_answers(login: Any) -> bool:
    """A second factor is the provider's business, unless one is demanded here and it does not say that it saw one."""
    told = (login.signal_kwargs or {}).get(PROVIDER)
    return told is not None and (bool(told.get("is_strong")) or not is_demanded(login.user))


class AskStage(AuthenticateStage):  # type: ignore[misc]
    """Asks whoever has a second factor for it."""

    def _should_handle(self, request: HttpRequest) -> bool:
        return not _provider_answers(self.login) and bool(super()._should_handle(request))


class SetUpStage(LoginStage):  # type: ignore[misc]
    """Nobody who must have a second factor gets a session without one: it is made here, at the door."""

    key = "mfa_set_up"
    urlname = "mfa_set_up"

    def handle(self) -> tuple[Any, bool]:
        user: User = self.login.user
        if (
            not is_demanded(user)
            or has_factor(user)
            or _provider_answers(self.login)
            or did_use_passwordless_login(self.request, user)
        ):
            return None, True
        return headed_redirect_response(self.urlname), True
