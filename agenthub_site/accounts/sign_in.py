"""The pages at the door: signing in, signing out."""

from typing import Any

from allauth.account.internal.flows import logout as allauth_logout
from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from .oidc.provider import provider
from .oidc.signing_out import way_out


class SignIn(LoginView):
    """A name and a password lead to the second factor of who has one, and then to a session with a new key."""

    template_name = "pages/login.html"
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        login = Login(user=user, redirect_url=self.get_redirect_url() or None)
        answer: HttpResponse = perform_password_login(self.request, {"username": user.get_username()}, login)
        return answer

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            "passkeys": settings.MFA_PASSKEY_LOGIN_ENABLED,
            "provider": settings.CONFIG.oidc,
            "is_provider_away": self.request.GET.get("provider") == "away"
            or (bool(settings.CONFIG.oidc.issuer) and provider().is_away),
        }


@never_cache
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End this session, or give up a sign-in under way. The provider's own session is its owner's to end.

    By a link on a page of ours, since a form must not lead elsewhere.
    """
    onward_at_provider = way_out(request)
    allauth_logout.logout(request, show_message=False)
    if onward_at_provider:
        said = {"way_out": onward_at_provider, "provider": settings.CONFIG.oidc}
        return render(request, "account/signed_out.html", said)
    onward = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(onward, {request.get_host()}, require_https=request.is_secure()):
        return HttpResponseRedirect(onward)
    return HttpResponseRedirect(resolve_url(settings.LOGOUT_REDIRECT_URL))
