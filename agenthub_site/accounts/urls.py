"""The pages of signing in and of one's own account. Of allauth's, only what is named here is reachable."""

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from django.urls import include, path

from . import own_pages as own
from .mfa.views import set_up
from .sign_in import SignIn, sign_out

local = own.local_only

urlpatterns = [
    path("login/", SignIn.as_view(), name="login"),
    path("login/", SignIn.as_view(), name="account_login"),
    path("login/second/", mfa.authenticate, name="mfa_authenticate"),
    path("login/set-up/", set_up, name="mfa_set_up"),
    path("login/passkey/", webauthn.login_webauthn, name="mfa_login_webauthn"),
    path("oidc/", include("agenthub_site.accounts.oidc.urls")),
    path("logout/", sign_out, name="logout"),
    path("logout/", sign_out, name="account_logout"),
    path("account/", own.account, name="account"),
    path("account/", own.account, name="mfa_index"),
    path("account/password/", own.password, name="password"),
    path("account/sessions/", own.sessions, name="sessions"),
    path("account/sessions/end/", own.end_others, name="end_other_sessions"),
    path("account/sessions/<int:session_id>/end/", own.end, name="end_session"),
    path("account/confirm/", account.reauthenticate, name="account_reauthenticate"),
    path("account/confirm/code/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path("account/confirm/passkey/", webauthn.reauthenticate_webauthn, name="mfa_reauthenticate_webauthn"),
    path("account/app/", local(totp.activate_totp), name="mfa_activate_totp"),
    path("account/app/remove/", local(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("account/codes/", local(codes.view_recovery_codes), name="mfa_view_recovery_codes"),
    path("account/codes/new/", local(codes.generate_recovery_codes), name="mfa_generate_recovery_codes"),
    path("account/codes/download/", local(codes.download_recovery_codes), name="mfa_download_recovery_codes"),
    path("account/passkeys/", own.account, name="mfa_list_webauthn"),
    path("account/passkeys/add/", local(webauthn.add_webauthn), name="mfa_add_webauthn"),
    path("account/passkeys/<int:pk>/", local(webauthn.edit_webauthn), name="mfa_edit_webauthn"),
    path("account/passkeys/<int:pk>/remove/", local(webauthn.remove_webauthn), name="mfa_remove_webauthn"),
]
