"""Which address leads where. Live reading is not here: those are ASGI apps beside Django (``agenthub_site.asgi``)."""

from functools import partial

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from agenthub_site import health
from agenthub_site.api import ApiDocs, ApiSchema
from agenthub_site.api import urlpatterns as api
from agents.queries import count_on_nodes
from nodes.registry import NodeRegistry

registry = partial(NodeRegistry.as_view, count_live=count_on_nodes)

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path("api/schema/", ApiSchema.as_view(), name="schema"),
    path("api/docs/", ApiDocs.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include(api)),
    path("api/admin/agent-nodes", registry({"get": "list", "post": "create"})),
    path("api/admin/agent-nodes/bootstrap", registry({"get": "bootstrap"})),
    path(
        "api/admin/agent-nodes/<str:id>",
        registry({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
    ),
    path("api/admin/agent-nodes/<str:id>/health", registry({"get": "health"})),
    path("api/admin/agent-nodes/<str:id>/test-connection", registry({"post": "test_connection"})),
    path("admin/", admin.site.urls),
    path("", include("agenthub_site.accounts.urls")),
    path("", include("agenthub_site.pages.urls")),
]

handler400 = "agenthub_site.errors.bad_request"
handler403 = "agenthub_site.errors.permission_denied"
handler404 = "agenthub_site.errors.page_not_found"
handler500 = "agenthub_site.errors.server_error"
