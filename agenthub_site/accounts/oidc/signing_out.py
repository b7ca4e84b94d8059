"""Signing out at the provider too, and being signed out by it."""

import hashlib
from functools import partial
from typing import Final
from urllib.parse import urlencode

import structlog
from allauth.core.internal import ratelimit
from django.core.cache import cache
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from audit.services import record
from nodes.contract.errors import HubError, NotFound, Unavailable

from ..actors import Actor, ActorKind
from ..authentication import request_address
from ..mfa.stages import PROVIDER
from .errors import ProviderAway, Refused
from .identities import end_of_provider
from .provider import provider
from .tokens import MAX_AGE_SECONDS, SKEW_SECONDS, verify_logout_token
from .views import callback_address

logger = structlog.get_logger(__name__)

REPLAY_SECONDS: Final = MAX_AGE_SECONDS + 4 * SKEW_SECONDS
"""Longer than a token is taken for: one that was seen is refused for as long as it is any good."""
RATES: Final = {"backchannel": "60/m/key"}
"""Of refused tokens. All that are good come from one address, and many at once when many leave at once."""


def way_out(request: HttpRequest) -> str:
    """Where this session's person signs out of the provider as well; empty if it opened it not, or has no such door."""
    told = request.session.get(PROVIDER)
    if not isinstance(told, dict):
        return ""
    try:
        op = provider()
        endpoint = op.metadata.end_session_endpoint
    except HubError:
        return ""
    if not endpoint:
        return ""
    back = callback_address(request).removesuffix(reverse("oidc_callback")) + reverse("login")
    query = {"client_id": op.client_id, "post_logout_redirect_uri": back, "id_token_hint": told.get("id_token", "")}
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode({k: v for k, v in query.items() if v})}"


@csrf_exempt
@require_POST
@never_cache
def backchannel_logout(request: HttpRequest) -> HttpResponse:
    """The provider says that somebody has left: their sessions here end. It proves itself by the token's signature."""
    by = Actor(
        ActorKind.INTEGRATION, PROVIDER, "identity provider", address=request_address(request),
        user_agent=request.headers.get("User-Agent", ""),
    )  # fmt: skip
    count_refused = partial(
        ratelimit.consume, request, app="agenthub.oidc", action="backchannel", config=RATES, key=by.address or "local"
    )
    if count_refused(dry_run=True) is None:
        return _refused("Too many requests that were refused.", 429)
    try:
        op = provider()
        logout = verify_logout_token(request.POST.get("logout_token"), op)
        seen = "oidc.jti:" + hashlib.sha256(f"{op.issuer}\0{logout.jti}".encode()).hexdigest()
        if cache.get(seen):
            raise Refused("replayed")
    except NotFound as error:
        return _refused(error.text, 404)
    except (ProviderAway, Unavailable) as error:
        return _refused(error.text, 503)
    except HubError as refusal:
        count_refused()
        reason = refusal.reason if isinstance(refusal, Refused) else refusal.code
        logger.warning("oidc.logout_refused", reason=reason)
        with transaction.atomic():
            record(None, "user.logout_refused", by=by, reason=reason)
        return _refused("The logout token is not to be believed.", 400)
    ended = end_of_provider(logout.subject, issuer=op.issuer, sid=logout.sid, by=by)
    cache.set(seen, 1, REPLAY_SECONDS)  # not before: a provider whose request failed here asks again
    logger.info("oidc.logged_out", ended=ended)
    return HttpResponse(status=200)


def _refused(why: str, status: int) -> HttpResponse:
    return JsonResponse({"error": "invalid_request", "error_description": why}, status=status)
