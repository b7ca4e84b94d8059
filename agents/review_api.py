"""REST: who answers what runs ask, on each level of the policy."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.rest import HubViewSet, In
from nodes.contract.errors import NotFound

from .models import Agent
from .policy_api import OnLevelFilter, find_level
from .queries import find_agent
from .rules import PolicyReview
from .services.compiling import PEOPLE_AFTER_SECONDS
from .services.policies import MOST_SECONDS, REVIEWING_ROLES, set_review

_WHOSE = "Neither project nor agent: the instance's."


class ReviewIn(In):
    project = serializers.CharField(max_length=64, required=False, help_text=f"Slug or id. {_WHOSE}")
    agent = serializers.CharField(max_length=200, required=False, help_text="For what this agent asks alone.")
    roles = serializers.ListField(
        child=serializers.ChoiceField(choices=sorted(REVIEWING_ROLES)), default=list,
        help_text="Of people that may answer; none: every role that may.",
    )  # fmt: skip
    reviewer = serializers.CharField(max_length=200, required=False, help_text="An agent that is asked before people.")
    people_after_seconds = serializers.IntegerField(
        min_value=1, max_value=MOST_SECONDS, required=False,
        help_text=f"So long the reviewing agent has; {PEOPLE_AFTER_SECONDS}, unless a level says otherwise.",
    )  # fmt: skip
    expires_seconds = serializers.IntegerField(
        min_value=1, max_value=MOST_SECONDS, required=False, help_text="After this nobody's answer counts: it is no."
    )


class ReviewOut(serializers.ModelSerializer[PolicyReview]):
    level = serializers.CharField(help_text="instance, project or agent.")
    project = serializers.CharField(source="project.slug", default=None, allow_null=True)
    agent = serializers.UUIDField(source="agent_id", allow_null=True)
    agent_name = serializers.CharField(source="agent.name", default=None, allow_null=True)
    roles = serializers.ListField(child=serializers.CharField())
    reviewer = serializers.UUIDField(source="reviewer_id", allow_null=True)
    reviewer_name = serializers.CharField(source="reviewer.name", default=None, allow_null=True)

    class Meta:
        model = PolicyReview
        fields = (
            "level", "project", "agent", "agent_name", "roles", "reviewer", "reviewer_name", "people_after_seconds",
            "expires_seconds",
        )  # fmt: skip


class ReviewFilter(OnLevelFilter):
    class Meta:
        model = PolicyReview
        fields = ("level", "project", "agent")


class ReviewViewSet(mixins.ListModelMixin, HubViewSet):
    """Who answers what runs ask. A lower level only narrows what a higher one says."""

    queryset = PolicyReview.objects.none()
    serializer_class = ReviewOut
    filterset_class = ReviewFilter

    def get_queryset(self) -> QuerySet[PolicyReview]:
        reviews: QuerySet[PolicyReview] = PolicyReview.objects.visible_to(self.actor)
        return reviews.select_related("project", "agent", "reviewer")

    @extend_schema(request=ReviewIn, responses=ReviewOut, operation_id="policy_reviews_set")
    def update(self, request: Request) -> Response:
        """Say it for one level, in place of what was said there. A level alone takes it away."""
        given: dict[str, Any] = self.read(ReviewIn)
        project, agent = find_level(self.actor, given.pop("project", None), given.pop("agent", None))
        name = given.pop("reviewer", "")
        reviewer = self._reviewer(name, project.slug if project else "") if name else None
        kept = set_review(project, agent, by=self.actor, reviewer=reviewer, **given)
        return Response(ReviewOut(kept or PolicyReview(project=project, agent=agent)).data)

    def _reviewer(self, name: str, project: str) -> Agent:
        try:
            return find_agent(self.actor, f"{project}/{name}" if project and "/" not in name else name)
        except NotFound:
            return find_agent(self.actor, name)  # an id
