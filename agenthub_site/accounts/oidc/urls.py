from django.urls import path

from . import views
from .signing_out import backchannel_logout

urlpatterns = [
    path("authenticate/", views.Authenticate.as_view(), name="oidc_authenticate"),
    path("callback/", views.Callback.as_view(), name="oidc_callback"),
    path("link/", views.start_link, name="oidc_link"),
    path("link/confirm/", views.confirm_link, name="oidc_link_confirm"),
    path("unlink/", views.unlink, name="oidc_unlink"),
    path("backchannel-logout", backchannel_logout, name="oidc_backchannel_logout"),
]
