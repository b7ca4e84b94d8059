"""What people see and change of their own account: password, second factors, sessions."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import PasswordChangeForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from nodes.contract.errors import HubError

from . import services
from .authentication import request_actor
from .mfa.policy import is_demanded
from .models import User
from .oidc.models import ProviderSession
from .sessions import end_session, end_sessions

View = Callable[..., HttpResponse]


class OwnRequest(HttpRequest):
    """A request of somebody who is signed in."""

    user: User


def local_only(view: View) -> View:
    """For people with a password here. Others sign in at their provider alone, so that leaving it shuts them out."""

    @login_required
    @wraps(view)
    def door(request: OwnRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.has_usable_password():
            messages.error(request, "You have no password here: you sign in at your provider, which asks for the rest.")
            return redirect("account")
        return view(request, *args, **kwargs)

    return door


@require_GET
@never_cache
@login_required
def account(request: OwnRequest) -> HttpResponse:
    factors: dict[str, Any] = {"webauthn": []}
    for found in Authenticator.objects.filter(user_id=request.user.pk).order_by("created_at"):
        if found.type == Authenticator.Type.WEBAUTHN:
            factors["webauthn"].append(found)
        else:
            factors[found.type] = found
    codes = factors.get("recovery_codes")
    context = {
        "factors": factors,
        "codes_left": len(codes.wrap().get_unused_codes()) if codes else 0,
        "sessions": UserSession.objects.filter(user_id=request.user.pk).count(),
        "provider": settings.CONFIG.oidc,
        "identities": request.user.identities.all(),
        "is_local": request.user.has_usable_password(),
        "is_demanded": is_demanded(request.user),
    }
    return render(request, "account/account.html", context)


@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
@never_cache
@local_only
def password(request: OwnRequest) -> HttpResponse:
    """Asks for the present one. Other sessions end."""
    form = PasswordChangeForm(request.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            services.set_password(request.user, form.cleaned_data["new_password1"], by=request_actor(request))
        except HubError as error:
            form.add_error("new_password1", error.text)
        else:
            _keep_only_this(request)
            messages.success(request, "Your password is changed. Your other sessions have ended.")
            return redirect("account")
    return render(request, "account/password.html", {"form": form}, status=400 if form.errors else 200)


def _keep_only_this(request: OwnRequest) -> None:
    """A changed password ends every session; this one goes on under a new key."""
    before = request.session.session_key
    update_session_auth_hash(request, request.user)
    if not request.session.session_key:
        request.session.save()
    for kept in (UserSession, ProviderSession):
        kept.objects.filter(session_key=before).update(session_key=request.session.session_key)
    end_sessions(request.user, by=request_actor(request), keep=request.session.session_key)


@require_GET
@never_cache
@login_required
def sessions(request: OwnRequest) -> HttpResponse:
    found = UserSession.objects.purge_and_list(request.user)
    found.sort(
        key=lambda session: (session.session_key != request.session.session_key, -session.created_at.timestamp())
    )
    return render(request, "account/sessions.html", {"sessions": found, "key": request.session.session_key})


@require_POST
@login_required
def end(request: OwnRequest, session_id: int) -> HttpResponse:
    found = get_object_or_404(UserSession, pk=session_id, user_id=request.user.pk)
    end_session(found, by=request_actor(request))
    messages.success(request, "That session has ended.")
    return redirect("sessions")


@require_POST
@login_required
def end_others(request: OwnRequest) -> HttpResponse:
    number = end_sessions(request.user, by=request_actor(request), keep=request.session.session_key)
    messages.success(request, f"{number} other session{'' if number == 1 else 's'} ended.")
    return redirect("sessions")


fresh: Callable[[View], View] = reauthentication_required(app="allauth.mfa")
"""Asks for the password, or a second factor, again if that was more than five minutes ago."""
