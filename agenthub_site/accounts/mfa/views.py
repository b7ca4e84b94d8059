"""Making a second factor at the door, where one is demanded."""

import base64
from typing import Any

from allauth.account.internal.decorators import login_stage_required
from allauth.mfa import signals
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.internal.flows import post_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import TOTP, clear_totp_secret
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from .stages import SetUpStage


@require_http_methods(["GET", "POST"])
@login_stage_required(stage=SetUpStage.key, redirect_urlname="login")  # type: ignore[untyped-decorator]
def set_up(request: HttpRequest) -> HttpResponse:
    """An authenticator app for somebody whose password was right; then they are signed in, and see their codes."""
    stage: Any = request._login_stage  # type: ignore[attr-defined]
    user = stage.login.user
    form = ActivateTOTPForm(request.POST or None, user=user)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            added = TOTP.activate(user, form.secret).instance
            codes = RecoveryCodes.activate(user).instance
        clear_totp_secret(request)
        for one in (added, codes):
            signals.authenticator_added.send(sender=Authenticator, request=request, user=user, authenticator=one)
        post_authentication(request, added, reauthenticated=True)
        stage.login.redirect_url = reverse("mfa_view_recovery_codes")
        response: HttpResponse = stage.exit()
        return response
    return render(request, "mfa/set_up.html", {"form": form, **qr_code(user, form.secret)})


def qr_code(user: Any, secret: str) -> dict[str, str]:
    adapter = get_adapter()
    url = adapter.build_totp_url(user, secret)
    svg = base64.b64encode(adapter.build_totp_svg(url).encode()).decode("ascii")
    return {"totp_url": url, "totp_svg_data_uri": f"data:image/svg+xml;base64,{svg}"}
