"""REST: the approval policy. Its rules, its standing answers, who reviews, and a dry run."""

from typing import Any

import django_filters as filters
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import mixins, serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.actors import Actor, ActorKind
from agenthub_site.accounts.api import find_project
from agenthub_site.accounts.idempotency import idempotent
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.rest import HubViewSet, In
from nodes.contract.actions import Place
from nodes.contract.errors import Forbidden, Invalid
from nodes.contract.judged import Trial, imagined, try_out
from nodes.contract.policy import PATTERN_CHARS, ActionKind, Verdict
from nodes.contract.shell.globs import unknown

from .filters import by_id_or
from .models import Agent, Approval
from .queries import find_agent, shown_approvals
from .rules import PolicyGrant, PolicyRule
from .serializers import ApprovalOut
from .services.always_allow import always_allow, propose_grants
from .services.compiling import compile_policy, compile_project
from .services.policies import (
    GRANT_DAYS,
    MOST_GRANT_DAYS,
    add_grant,
    add_rule,
    edit_rule,
    move_rule,
    remove_grant,
    remove_rule,
)

_KINDS = [kind.value for kind in ActionKind]
_VERDICTS = [verdict.value for verdict in Verdict]
_LEVELS = ["instance", "project", "agent"]


def _pattern(what: str) -> serializers.CharField:
    return serializers.CharField(
        max_length=PATTERN_CHARS, allow_blank=True, required=False, trim_whitespace=False, help_text=what
    )


class MatchingIn(In):
    kind = serializers.ChoiceField(choices=_KINDS, allow_blank=True, required=False)
    tool = _pattern("The runtime's name for its tool: mcp__github__*.")
    path = _pattern("src/** in the workspace, .env anywhere, /etc/** on the node.")
    command = _pattern("git push*; * stands for anything.")
    host = _pattern("api.example.com, *.example.com.")
    note = serializers.CharField(max_length=PATTERN_CHARS, allow_blank=True, required=False)


class RuleChangesIn(MatchingIn):
    verdict = serializers.ChoiceField(choices=_VERDICTS)
    is_strict = serializers.BooleanField(required=False, help_text="Of what is asked: each time.")
    is_enabled = serializers.BooleanField(required=False)


class RuleIn(RuleChangesIn):
    project = serializers.CharField(max_length=64, required=False, help_text="Slug or id. Neither: the instance's.")
    agent = serializers.CharField(max_length=200, required=False, help_text="Of this agent alone.")
    position = serializers.IntegerField(min_value=0, required=False, help_text="Its place, from 0; else the last.")


class MoveIn(In):
    position = serializers.IntegerField(min_value=0, help_text="Its new place on its level, from 0.")


class GrantIn(MatchingIn):
    project = serializers.CharField(max_length=64, required=False, help_text="Slug or id.")
    agent = serializers.CharField(max_length=200, required=False, help_text="For this agent alone.")
    days = serializers.IntegerField(min_value=1, max_value=MOST_GRANT_DAYS, default=GRANT_DAYS)


class AuthorOut(serializers.Serializer[Any]):
    kind = serializers.CharField(source="author_kind")
    id = serializers.CharField(source="author_id")
    label = serializers.CharField(source="author_label", allow_blank=True)  # type: ignore[assignment]


class RuleOut(serializers.ModelSerializer[PolicyRule]):
    level = serializers.CharField(help_text="instance, project or agent.")
    project = serializers.CharField(source="project.slug", default=None, allow_null=True)
    agent = serializers.UUIDField(source="agent_id", allow_null=True)
    agent_name = serializers.CharField(source="agent.name", default=None, allow_null=True)
    kind = serializers.CharField(allow_blank=True)
    about = serializers.CharField(help_text="What it matches, in words; empty: everything.")
    author = AuthorOut(source="*")

    class Meta:
        model = PolicyRule
        fields = (
            "id", "level", "project", "agent", "agent_name", "position", "verdict", "kind", "tool", "path", "command",
            "host", "about", "is_strict", "is_enabled", "note", "author", "created_at", "updated_at",
        )  # fmt: skip


class GrantOut(serializers.ModelSerializer[PolicyGrant]):
    level = serializers.CharField(help_text="project or agent.")
    project = serializers.CharField(source="project.slug")
    agent = serializers.UUIDField(source="agent_id", allow_null=True)
    agent_name = serializers.CharField(source="agent.name", default=None, allow_null=True)
    approval = serializers.UUIDField(source="approval_id", allow_null=True)
    kind = serializers.CharField(allow_blank=True)
    about = serializers.CharField()
    author = AuthorOut(source="*")

    class Meta:
        model = PolicyGrant
        fields = (
            "id", "level", "project", "agent", "agent_name", "kind", "tool", "path", "command", "host", "about", "note",
            "author", "approval", "created_at", "expires_at", "last_used_at",
        )  # fmt: skip


class OnLevelFilter(filters.FilterSet):  # type: ignore[misc]
    level = filters.ChoiceFilter(choices=[(level, level) for level in _LEVELS], method="by_level")
    project = filters.CharFilter(method="by_project", label="A project's slug or id.")
    agent = filters.CharFilter(method="by_agent", label="An agent's name or id.")

    by_project = by_id_or("project__slug", "project_id")
    by_agent = by_id_or("agent__name", "agent_id")

    def by_level(self, rows: QuerySet[Any], _name: str, level: str) -> QuerySet[Any]:
        return rows.filter(agent__isnull=level != "agent", project__isnull=level == "instance")


class RuleFilter(OnLevelFilter):
    class Meta:
        model = PolicyRule
        fields = ("level", "project", "agent")


class GrantFilter(OnLevelFilter):
    class Meta:
        model = PolicyGrant
        fields = ("level", "project", "agent")


def find_level(actor: Actor, project: str | None, agent: str | None) -> tuple[Project | None, Agent | None]:
    """What is meant by a project's slug or id and an agent's name or id; neither is the instance. ``NotFound``."""
    if agent:
        found = find_agent(actor, f"{project}/{agent}" if project and "/" not in agent else agent)
        return found.project, found
    if not project:
        return None, None
    return find_project(actor, project), None


class RuleViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Ordered rules of the instance, projects and agents: the first that matches counts, and then the strictest."""

    queryset = PolicyRule.objects.none()
    serializer_class = RuleOut
    filterset_class = RuleFilter

    def get_queryset(self) -> QuerySet[PolicyRule]:
        rules: QuerySet[PolicyRule] = PolicyRule.objects.visible_to(self.actor)
        return rules.select_related("project", "agent")

    @extend_schema(request=RuleIn, responses={201: RuleOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        """Add a rule. Live runs that it concerns are told."""
        given = self.read(RuleIn)
        project, agent = find_level(self.actor, given.pop("project", None), given.pop("agent", None))
        rule = add_rule(project, agent, by=self.actor, **given)
        return Response(RuleOut(rule).data, status=201)

    @extend_schema(request=RuleChangesIn, responses=RuleOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change what a rule says; its place stays."""
        changes = self.read(RuleChangesIn, partial=True)
        return Response(RuleOut(edit_rule(self.get_object(), by=self.actor, **changes)).data)

    @extend_schema(responses={204: OpenApiResponse(description="Removed.")})
    def destroy(self, request: Request, pk: str) -> Response:
        """Remove a rule. Live runs that it concerned are told."""
        remove_rule(self.get_object(), by=self.actor)
        return Response(status=204)

    @extend_schema(request=MoveIn, responses=RuleOut)
    @action(detail=True, methods=["post"])
    @idempotent()
    def move(self, request: Request, pk: str) -> Response:
        """Put it at another place of its level."""
        given = self.read(MoveIn)
        return Response(RuleOut(move_rule(self.get_object(), by=self.actor, **given)).data)


class GrantViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Standing answers ("always allow this"): what is asked and matches is allowed, until they expire."""

    queryset = PolicyGrant.objects.none()
    serializer_class = GrantOut
    filterset_class = GrantFilter

    def get_queryset(self) -> QuerySet[PolicyGrant]:
        grants: QuerySet[PolicyGrant] = PolicyGrant.objects.visible_to(self.actor)
        return grants.select_related("project", "agent")

    @extend_schema(request=GrantIn, responses={201: GrantOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        """Answer what is going to be asked. Better made from an approval, which says what it comes down to."""
        given = self.read(GrantIn)
        project, agent = find_level(self.actor, given.pop("project", None), given.pop("agent", None))
        if project is None:
            raise Invalid("Name a project or an agent.", fields={"project": ["Name a project or an agent."]})
        return Response(GrantOut(add_grant(project, agent, by=self.actor, **given)).data, status=201)

    @extend_schema(responses={204: OpenApiResponse(description="Withdrawn.")})
    def destroy(self, request: Request, pk: str) -> Response:
        """Withdraw it: from now on that is asked again, in live runs, too."""
        remove_grant(self.get_object(), by=self.actor)
        return Response(status=204)


class TrialIn(In):
    agent = serializers.CharField(max_length=200, required=False, help_text="Whose runs' policy; or a project's:")
    project = serializers.CharField(max_length=64, required=False)
    command = serializers.CharField(max_length=16_384, required=False, trim_whitespace=False)
    path = serializers.CharField(max_length=4_096, required=False)
    kind = serializers.ChoiceField(choices=_KINDS, required=False)
    tool = serializers.CharField(max_length=200, required=False)
    host = serializers.CharField(max_length=1_000, required=False)


class JudgedOut(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=_KINDS)
    tool = serializers.CharField(allow_blank=True)
    command = serializers.CharField(allow_blank=True)
    path = serializers.CharField(allow_blank=True)
    host = serializers.CharField(allow_blank=True)
    is_opaque = serializers.BooleanField()
    verdict = serializers.ChoiceField(choices=_VERDICTS)
    level = serializers.CharField(allow_blank=True)
    rule = serializers.CharField(allow_blank=True, help_text="The id of the rule that decided; empty: the default.")
    grant = serializers.CharField(allow_blank=True)
    is_strict = serializers.BooleanField()


class TrialOut(serializers.Serializer[Trial]):
    verdict = serializers.ChoiceField(choices=_VERDICTS)
    kind = serializers.ChoiceField(choices=_KINDS)
    level = serializers.CharField(allow_blank=True)
    rule = serializers.CharField(allow_blank=True)
    grant = serializers.CharField(allow_blank=True)
    actions = JudgedOut(many=True)


class TrialViewSet(HubViewSet):
    """What a policy would say. Nothing is asked, and nothing is done."""

    queryset = PolicyRule.objects.none()
    serializer_class = TrialOut
    filter_backends = ()

    @extend_schema(request=TrialIn, responses=TrialOut)
    def create(self, request: Request) -> Response:
        """A dry run, with the rule and level that decide. Paths are taken as if the workspace were /workspace.

        Which files a pattern stands for (``cat .e*``) only the agent's node can tell: it is asked here.
        """
        given = self.read(TrialIn)
        project, agent = find_level(self.actor, given.pop("project", None), given.pop("agent", None))
        if self.actor.kind is ActorKind.AGENT:
            raise Forbidden("The policy is tried out by people; an agent asks, and is told.")
        if project is None or not given:
            raise Invalid("Name an agent or a project, and what is asked: command, path, kind, tool or host.")
        policy = compile_policy(agent) if agent else compile_project(project.pk)
        trial = try_out(policy, imagined(**given), Place("/workspace", home="/home/agent", matches=unknown))
        return Response(trial.model_dump(mode="json"))


class MatcherOut(serializers.Serializer[Any]):
    kind = serializers.CharField()
    tool = serializers.CharField(allow_blank=True)
    path = serializers.CharField(allow_blank=True)
    command = serializers.CharField(allow_blank=True)
    host = serializers.CharField(allow_blank=True)
    matched = serializers.IntegerField(help_text="So many of the questions looked at had such an action.")


class ExampleOut(serializers.Serializer[Any]):
    approval = serializers.UUIDField()
    title = serializers.CharField()
    state = serializers.CharField()


class ProposalOut(serializers.Serializer[Any]):
    offered = MatcherOut(many=True, help_text="To choose from, the narrowest first.")
    examples = ExampleOut(many=True, help_text="Of what the narrowest would have matched.")


class ProposalsOut(serializers.Serializer[Any]):
    proposals = ProposalOut(many=True, help_text="One for each action that is asked.")
    looked_at = serializers.IntegerField(help_text="Questions of the project in the last 30 days, 1,000 at most.")
    days = serializers.IntegerField(help_text="A standing answer ends after so long, unless another is sent.")


class AlwaysAllowIn(In):
    choices = serializers.ListField(
        child=serializers.IntegerField(min_value=0), required=False, max_length=50,
        help_text="For each proposal which of what is offered; 0, the narrowest, where left out.",
    )  # fmt: skip
    level = serializers.ChoiceField(choices=_LEVELS[1:], default="agent")
    days = serializers.IntegerField(min_value=1, max_value=MOST_GRANT_DAYS, default=GRANT_DAYS)


class AlwaysAllowedOut(serializers.Serializer[Any]):
    approval = ApprovalOut()
    grants = GrantOut(many=True)


class AlwaysAllowViewSet(HubViewSet):
    """ "Always allow this": looked at first, then stored with the answer."""

    queryset = Approval.objects.none()
    serializer_class = ProposalsOut
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Approval]:
        approvals: QuerySet[Approval] = Approval.objects.visible_to(self.actor)
        return approvals

    @extend_schema(responses=ProposalsOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """What it would store, and what that would have matched lately. 409 where no standing answer can be given."""
        proposals, looked_at = propose_grants(self.get_object(), by=self.actor)
        told = [
            {
                "offered": [
                    {
                        **matcher.model_dump(mode="json", include={"kind", "tool", "path", "command", "host"}),
                        "matched": n,
                    }
                    for matcher, n in zip(proposal.offered, proposal.matched, strict=True)
                ],
                "examples": proposal.examples,
            }
            for proposal in proposals
        ]
        return Response(ProposalsOut({"proposals": told, "looked_at": looked_at, "days": GRANT_DAYS}).data)

    @extend_schema(request=AlwaysAllowIn, responses=AlwaysAllowedOut)
    @idempotent()
    def create(self, request: Request, pk: str) -> Response:
        """Allow this once, and what is chosen from now on; both or neither."""
        given = self.read(AlwaysAllowIn)
        approval, grants = always_allow(self.get_object(), by=self.actor, **given)
        shown = shown_approvals(self.actor).get(pk=approval.pk)
        return Response(AlwaysAllowedOut({"approval": shown, "grants": grants}).data)
