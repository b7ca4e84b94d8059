"""The way to the provider and back."""

import hmac
import time
from typing import Any, Final
from urllib.parse import urlencode

import structlog
from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from mozilla_django_oidc.utils import add_state_and_verifier_and_nonce_to_session, generate_code_challenge
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from audit.refusals import Refusal, as_who, failures
from nodes.contract.errors import HubError

from ..authentication import request_actor
from ..login import request_is_by, stranger
from ..mfa.stages import PROVIDER
from ..models import User
from ..own_pages import OwnRequest, fresh, local_only
from . import identities
from .backend import ProviderBackend
from .errors import NotConfigured, ProviderAway, Refused
from .models import Identity
from .provider import provider
from .tokens import Claims

logger = structlog.get_logger(__name__)

STATE_SECONDS: Final = 600
LINK_SECONDS: Final = 300
SIGN_IN: Final = "sign_in"
LINK: Final = "link"
PENDING_LINK: Final = "oidc_pending_link"
BACKEND: Final = "agenthub_site.accounts.oidc.backend.ProviderBackend"


def callback_address(request: HttpRequest) -> str:
    """Where the provider sends people back: as it knows it, whatever a proxy in front makes of the request."""
    path = reverse("oidc_callback")
    public = settings.CONFIG.server.public_url.rstrip("/")
    return f"{public}{path}" if public else request.build_absolute_uri(path)


def safe_next(request: HttpRequest) -> str:
    onward = request.GET.get("next", "")
    is_safe = url_has_allowed_host_and_scheme(onward, {request.get_host()}, require_https=request.is_secure())
    return onward if is_safe else ""


@method_decorator(never_cache, name="dispatch")
class Authenticate(OIDCAuthenticationRequestView):  # type: ignore[misc]
    """Off to the provider, with state, nonce and the S256 challenge of PKCE; what they are stays in the session."""

    purpose = SIGN_IN

    def __init__(self, **kwargs: Any) -> None:
        super(OIDCAuthenticationRequestView, self).__init__(**kwargs)  # the parent's wants the provider's address here

    def get(self, request: HttpRequest) -> HttpResponse:
        try:
            op = provider()
            endpoint = op.metadata.authorization_endpoint
        except ProviderAway:
            return _to_login(request, "away")
        state, verifier = get_random_string(43), get_random_string(64)
        params = {
            "response_type": "code",
            "client_id": op.client_id,
            "scope": " ".join(settings.CONFIG.oidc.scopes),
            "redirect_uri": callback_address(request),
            "state": state,
            "nonce": get_random_string(43),
            "code_challenge": generate_code_challenge(verifier, "S256"),
            "code_challenge_method": "S256",
        }
        if self.purpose == LINK:
            params["prompt"] = "login"
        add_state_and_verifier_and_nonce_to_session(request, state, params, verifier)
        request.session["oidc_states"][state] |= {"purpose": self.purpose, "next": safe_next(request)}
        request.session.modified = True
        return HttpResponseRedirect(f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(params)}")


class StartLink(Authenticate):
    """The same, by somebody who is signed in and has just shown it again."""

    purpose = LINK


start_link = local_only(fresh(StartLink.as_view()))


@method_decorator(never_cache, name="dispatch")
class Callback(OIDCAuthenticationCallbackView):  # type: ignore[misc]
    """Back from the provider: a session of ours, or a page that says why not. Every refusal is in the trail."""

    def get(self, request: HttpRequest) -> HttpResponse:
        try:
            started = self._started(request)
            return self._finish(request, started)
        except ProviderAway:
            return _to_login(request, "away")
        except NotConfigured:
            raise
        except HubError as refusal:
            _note_refusal(request, refusal)
            return render(request, "account/provider_refused.html", {"refusal": refusal}, status=refusal.http)

    def _started(self, request: HttpRequest) -> dict[str, Any]:
        """What was put into this session when it began, and is taken out of it for good."""
        states = request.session.get("oidc_states")
        started = states.pop(request.GET.get("state", ""), None) if isinstance(states, dict) else None
        if started is None:
            raise Refused("wrong_state")
        request.session.modified = True
        request.session.save()
        if time.time() - started["added_on"] > STATE_SECONDS:
            raise Refused("expired")
        return dict(started)

    def _finish(self, request: HttpRequest, started: dict[str, Any]) -> HttpResponse:
        op = provider()
        said = request.GET.get("iss")
        if (said is None and op.metadata.says_issuer) or (
            said is not None and not hmac.compare_digest(said.encode(), op.issuer.encode())
        ):
            raise Refused("wrong_issuer")
        code = request.GET.get("code")
        if "error" in request.GET or not code:
            raise Refused("provider_refused", "The provider did not sign you in. Start again, or sign in another way.")
        backend = ProviderBackend()
        claims, access = backend.redeem(
            code, verifier=started.get("code_verifier") or "", nonce=started.get("nonce") or "",
            callback=callback_address(request),
        )  # fmt: skip
        if started.get("purpose") == LINK:
            return _ask_to_link(request, claims, backend.describe(claims, access))
        return self._sign_in(request, backend.person(claims, access), claims, started.get("next") or None)

    @staticmethod
    def _sign_in(request: HttpRequest, user: User, claims: Claims, onward: str | None) -> HttpResponse:
        user.backend = BACKEND
        told = {
            "subject": claims.subject, "sid": claims.sid, "id_token": claims.raw,
            "is_strong": bool(set(claims.amr) & set(settings.CONFIG.oidc.mfa_amr)),
        }  # fmt: skip
        record_authentication(request, user, method=PROVIDER, uid=claims.subject)
        answer: HttpResponse = perform_login(
            request, Login(user=user, redirect_url=onward, signal_kwargs={PROVIDER: told})
        )
        return answer


def _to_login(request: HttpRequest, trouble: str) -> HttpResponse:
    if request.user.is_authenticated:
        messages.error(request, ProviderAway.message)
        return redirect("account")
    query = {"provider": trouble, **({"next": onward} if (onward := safe_next(request)) else {})}
    return HttpResponseRedirect(f"{reverse('login')}?{urlencode(query)}")


def _note_refusal(request: HttpRequest, refusal: HubError) -> None:
    reason = refusal.reason if isinstance(refusal, Refused) else refusal.code
    logger.warning("oidc.refused", reason=reason)
    by = request_is_by(request, request.user) if isinstance(request.user, User) else stranger(request)
    said = (("what", PROVIDER), ("reason", reason))
    failures.note(Refusal("user.login_failed", as_who(by), data=said))


def _ask_to_link(request: HttpRequest, claims: Claims, told: dict[str, Any]) -> HttpResponse:
    """Somebody else's sign-in at the provider could be slipped in on the way: the person looks at it first."""
    if not isinstance(request.user, User):
        raise Refused("not_signed_in")
    label = str(told.get("email") or told.get("preferred_username") or claims.subject)[:150]
    request.session[PENDING_LINK] = {
        "issuer": claims.issuer, "subject": claims.subject, "label": label,
        "user": str(request.user.pk), "at": time.time(),
    }  # fmt: skip
    return redirect("oidc_link_confirm")


@require_http_methods(["GET", "POST"])
@never_cache
@local_only
def confirm_link(request: OwnRequest) -> HttpResponse:
    pending = request.session.get(PENDING_LINK) or {}
    if pending.get("user") != str(request.user.pk) or time.time() - pending.get("at", 0) > LINK_SECONDS:
        messages.error(request, "There is nothing to link, or it was too long ago. Start again.")
        return redirect("account")
    if request.method == "POST":
        del request.session[PENDING_LINK]
        claims = Claims(pending["issuer"], pending["subject"], more={"email": pending["label"]})
        try:
            identities.link(request.user, claims, by=request_actor(request))
        except HubError as error:
            messages.error(request, error.text)
        else:
            messages.success(request, f"From now on you can sign in with {provider().name} too.")
        return redirect("account")
    return render(request, "account/link.html", {"pending": pending, "provider": provider()})


@require_POST
@local_only
@fresh
def unlink(request: OwnRequest) -> HttpResponse:
    for identity in Identity.objects.filter(user=request.user).select_related("user"):
        identities.unlink(identity, by=request_actor(request))
    messages.success(request, "The provider does not sign you in any more.")
    return redirect("account")
