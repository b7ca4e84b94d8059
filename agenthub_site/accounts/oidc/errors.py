"""Refusals of signing in by a provider. ``reason`` goes to the trail, the text to the person."""

from nodes.contract.errors import Conflict, Forbidden, NotFound, Unavailable


class NotConfigured(NotFound):
    message = "This hub has no identity provider. [oidc] in its configuration names one."


class ProviderAway(Unavailable):
    code = "provider_away"
    message = (
        "The identity provider does not answer. Who is signed in stays so; who has a password here can sign in with it."
    )


class Refused(Forbidden):
    """What came back from the provider is not to be believed."""

    code = "oidc_refused"
    message = "The sign-in could not be checked, and was refused. Start it again; if it fails again, tell an operator."

    def __init__(self, reason: str, text: str | None = None) -> None:
        super().__init__(text, reason=reason)
        self.reason = reason


class AccountClash(Conflict):
    """There is an account here that may be this person's, and may not be."""

    code = "account_clash"
    message = (
        "There is an account here with this e-mail address or name already, and nobody gets into it by an address. "
        "If it is yours: sign in with its password, open Account, and link the provider there. "
        "If it is not, ask a root operator."
    )


class UnknownPerson(Forbidden):
    code = "unknown_person"
    message = "This hub does not know you yet, and makes no accounts by itself. Ask a root operator for one."
