"""``/api/v1/``: every app's part of the REST door under one roof, and its description."""

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.routers import SimpleRouter

import agenthub_site.openapi  # noqa: F401 (its schemes are known once it is imported)
from agenthub_site.accounts.api import MeViewSet, ProjectViewSet, TokenViewSet
from agenthub_site.accounts.people_api import (
    AcceptView,
    InvitationsView,
    InvitationView,
    ServiceAccountsView,
    UserViewSet,
)
from agenthub_site.accounts.secrets_api import SecretViewSet
from agenthub_site.audit_api import AuditViewSet, CheckpointView, ExportView
from agents.api import AgentViewSet, RunViewSet
from agents.approvals_api import ApprovalViewSet
from agents.coordination.api import LimitsViewSet, LockViewSet, RoundViewSet, TaskViewSet
from agents.mail.api import MessageViewSet
from agents.policy_api import AlwaysAllowViewSet, GrantViewSet, RuleViewSet, TrialViewSet
from agents.review_api import ReviewViewSet
from agents.teams.api import TeamViewSet
from agents.triggers.api import TriggerViewSet
from agents.usage.api import BudgetViewSet, UsageViewSet
from agents.usage.prices_api import PriceViewSet
from agents.webhooks.api import WebhookViewSet
from nodes.api import NodeViewSet
from nodes.authority_api import AuthorityView, RetireAuthorityView, RotateAuthorityView
from nodes.join_api import EnrollView, JoinTokensView, RenewView, RevokeNodeView
from nodes.routes_api import RouteViewSet

router = SimpleRouter()
router.register("agents", AgentViewSet, "agent")
router.register("approvals", ApprovalViewSet, "approval")
router.register("audit", AuditViewSet, "audit")
router.register("me", MeViewSet, "me")
router.register("messages", MessageViewSet, "message")
router.register("nodes", NodeViewSet, "node")
router.register("policy/grants", GrantViewSet, "policy-grant")
router.register("policy/rules", RuleViewSet, "policy-rule")
router.register("projects", ProjectViewSet, "project")
router.register("budgets", BudgetViewSet, "budget")
router.register("usage", UsageViewSet, "usage")
router.register("locks", LockViewSet, "lock")
router.register("rounds", RoundViewSet, "round")
router.register("tasks", TaskViewSet, "task")
router.register("routes", RouteViewSet, "route")
router.register("runs", RunViewSet, "run")
router.register("secrets", SecretViewSet, "secret")
router.register("teams", TeamViewSet, "team")
router.register("tokens", TokenViewSet, "token")
router.register("triggers", TriggerViewSet, "trigger")
router.register("users", UserViewSet, "user")
router.register("webhooks", WebhookViewSet, "webhook")
urlpatterns = [
    path("invitations/accept/", AcceptView.as_view(), name="accept-invitation"),
    path("projects/<str:project>/invitations/", InvitationsView.as_view(), name="invitations"),
    path("projects/<str:project>/invitations/<uuid:invitation>/", InvitationView.as_view(), name="invitation"),
    path("projects/<str:project>/service-accounts/", ServiceAccountsView.as_view(), name="service-accounts"),
    path(
        "projects/<str:project>/limits/",
        LimitsViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="limits",
    ),
    # Before the router's, which would take the last words for ids.
    path(
        "approvals/<uuid:pk>/always-allow/",
        AlwaysAllowViewSet.as_view({"get": "retrieve", "post": "create"}),
        name="always-allow",
    ),
    path("usage/prices/", PriceViewSet.as_view({"get": "list", "put": "update"}), name="prices"),
    path("usage/prices/<uuid:pk>/", PriceViewSet.as_view({"delete": "destroy"}), name="price"),
    path("policy/reviews/", ReviewViewSet.as_view({"get": "list", "put": "update"}), name="policy-reviews"),
    path("policy/test/", TrialViewSet.as_view({"post": "create"}), name="policy-test"),
    path("audit/export", ExportView.as_view(), name="audit-export"),
    path("audit/checkpoint", CheckpointView.as_view(), name="audit-checkpoint"),
    path("nodes/enroll", EnrollView.as_view(), name="node-enroll"),
    path("nodes/renew", RenewView.as_view(), name="node-renew"),
    path("nodes/authority/", AuthorityView.as_view(), name="node-authority"),
    path("nodes/authority/rotate/", RotateAuthorityView.as_view(), name="node-authority-rotate"),
    path("nodes/authority/retire/", RetireAuthorityView.as_view(), name="node-authority-retire"),
    path("nodes/join-tokens/", JoinTokensView.as_view(), name="node-join-tokens"),
    path("nodes/<uuid:pk>/revoke/", RevokeNodeView.as_view(), name="node-revoke"),
    *router.urls,
]


class ApiSchema(SpectacularAPIView):
    """OpenAPI 3. For everybody: it tells nothing that the source does not."""

    permission_classes = (AllowAny,)
    authentication_classes = ()


class ApiDocs(SpectacularSwaggerSplitView):
    """The description to read and to try, with what this hub itself serves."""

    permission_classes = (AllowAny,)
    authentication_classes = ()
