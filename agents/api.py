"""REST: agents and runs."""

from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Left
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from agenthub_site.accounts.api import find_project
from agenthub_site.accounts.errors import PreconditionFailed
from agenthub_site.accounts.idempotency import idempotent
from agenthub_site.accounts.models import Token
from agenthub_site.accounts.permissions import Can, require
from agenthub_site.accounts.rest import HubViewSet
from agenthub_site.accounts.serializers import AgentTokenIn, NewTokenOut, TokenOut
from nodes.contract.errors import Invalid, NotFound
from nodes.contract.ids import uuid_of
from nodes.queries import visible_nodes

from .downloads import Bytes, as_download
from .filters import AgentFilter, RunFilter
from .models import Agent, Run
from .queries import artifacts_of, diff_of, find_agent, find_blob, find_run, shown_approvals
from .serializers import (
    AgentIn,
    AgentOut,
    ApprovalOut,
    ArtifactsOut,
    BlankIn,
    DecideIn,
    DiffOut,
    ImportAgentsIn,
    ImportedAgentOut,
    InputIn,
    InputOut,
    NewAgentIn,
    RevokedAgentsOut,
    RevokeUnlistedIn,
    RunOut,
    RunRowOut,
    StartRunIn,
)
from .services.agents import archive_agent, create_agent, edit_agent
from .services.approvals import decide_approval
from .services.importing import import_agents, revoke_unlisted
from .services.runs import cancel_run, send_input, start_run
from .services.tokens import create_agent_token

EXCERPT_CHARS = 300


class AgentViewSet(mixins.ListModelMixin, HubViewSet):
    """Configured workers. Maintainers make and change them; they are put away, never deleted."""

    queryset = Agent.objects.none()
    serializer_class = AgentOut
    filterset_class = AgentFilter

    def get_queryset(self) -> QuerySet[Agent]:
        agents: QuerySet[Agent] = Agent.objects.visible_to(self.actor).select_related("project", "node")
        return agents

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().filter_queryset(queryset) if self.action == "list" else queryset

    @extend_schema(request=NewAgentIn, responses={201: AgentOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        given = self.read(NewAgentIn)
        project = find_project(self.actor, given.pop("project"))
        agent = create_agent(project, by=self.actor, **self._with_node(given))
        return self._answer(agent, 201)

    @extend_schema(responses=AgentOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """The agent, with an ``ETag`` for a later ``If-Match``."""
        return self._answer(self.get_object())

    @extend_schema(
        request=AgentIn,
        responses=AgentOut,
        parameters=[OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, description="The ETag you read.")],
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change it for later runs. With ``If-Match``: only if nobody has since you read it (412 otherwise)."""
        changes = self._with_node(self.read(AgentIn, partial=True))
        with transaction.atomic():
            agent = get_object_or_404(
                self.get_queryset().select_for_update(of=("self",), no_key=True), pk=self.get_object().pk
            )
            expected = request.headers.get("If-Match", "*")
            if expected not in ("*", etag_of(agent)):
                raise PreconditionFailed(etag=etag_of(agent))
            edited = edit_agent(agent, by=self.actor, **changes)
        return self._answer(edited)

    @extend_schema(responses={204: OpenApiResponse(description="Put away.")})
    def destroy(self, request: Request, pk: str) -> Response:
        """Put the agent away: it starts no more runs, and its history stays."""
        archive_agent(self.get_object(), by=self.actor)
        return Response(status=204)

    @extend_schema(responses=TokenOut(many=True), filters=False)
    @action(detail=True, methods=["get"], filter_backends=[])
    def tokens(self, request: Request, pk: str) -> Response:
        """The tokens that speak for it, without their secrets. ``DELETE /api/v1/tokens/{id}/`` revokes one."""
        agent = self.get_object()
        require(self.actor, Can.MANAGE_TOKENS, agent)
        found = Token.objects.filter(agent_id=agent.pk).select_related("user")
        return self.get_paginated_response(TokenOut(self.paginate_queryset(found), many=True).data)

    @extend_schema(request=AgentTokenIn, responses={201: NewTokenOut})
    @tokens.mapping.post
    @idempotent(untold=("token",))
    def create_token(self, request: Request, pk: str) -> Response:
        """Make a token that speaks for the agent in its project. Its secret is in this answer, and never told again."""
        agent = self.get_object()
        require(self.actor, Can.MANAGE_TOKENS, agent)
        token, secret = create_agent_token(agent, by=self.actor, **self.read(AgentTokenIn))
        return Response(NewTokenOut(token, context={"secret": secret}).data, status=201)

    @extend_schema(request=ImportAgentsIn, responses=ImportedAgentOut(many=True), filters=False)
    @action(detail=False, methods=["post"], url_path="import", pagination_class=None, filter_backends=[])
    def import_(self, request: Request) -> Response:
        """Make sure of agents that come by MCP with tokens of their own: an `agents.env`. Twice is once."""
        given = self.read(ImportAgentsIn)
        lines = {item["name"]: item["token"] for item in given["agents"]}
        if len(lines) < len(given["agents"]):
            raise Invalid("An agent is named twice.", fields={"agents": ["An agent is named twice."]})
        done = import_agents(find_project(self.actor, given["project"]), lines, by=self.actor)
        return Response(ImportedAgentOut(done, many=True).data)

    @extend_schema(request=RevokeUnlistedIn, responses=RevokedAgentsOut, filters=False)
    @action(detail=False, methods=["post"], url_path="revoke-unlisted", pagination_class=None, filter_backends=[])
    def revoke_unlisted(self, request: Request) -> Response:
        """Revoke the imported tokens of a project that are not in the file any more: an `agents.env`, all of it."""
        given = self.read(RevokeUnlistedIn)
        lines = {item["name"]: item["token"] for item in given["agents"]}
        revoked = revoke_unlisted(find_project(self.actor, given["project"]), lines, by=self.actor)
        return Response(RevokedAgentsOut({"revoked": revoked}).data)

    def _answer(self, agent: Agent, status: int = 200) -> Response:
        return Response(self.get_serializer(agent).data, status=status, headers={"ETag": etag_of(agent)})

    def _with_node(self, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("node") is not None:
            seen, pk = visible_nodes(self.actor), uuid_of(given["node"])
            node = (seen.filter(pk=pk) if pk else seen.filter(slug=given["node"])).first()
            if node is None:
                raise Invalid(f"There is no node {given['node']!r}.", fields={"node": ["There is no such node."]})
            given["node"] = node
        return given


class RunViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Executions of agents. Their events are read beside this: ``{id}/events`` and ``{id}/events/stream``."""

    queryset = Run.objects.none()
    filterset_class = RunFilter
    lists_by_project = True

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return RunRowOut if self.action == "list" else RunOut

    def get_queryset(self) -> QuerySet[Run]:
        runs: QuerySet[Run] = Run.objects.visible_to(self.actor).select_related("project", "agent", "node", "user")
        return with_summaries(runs).defer("prompt") if self.action == "list" else with_summaries(runs)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().filter_queryset(queryset) if self.action == "list" else queryset

    @extend_schema(request=StartRunIn, responses={201: RunOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        """Start a run. It waits in the queue if its node cannot take it now."""
        given = self.read(StartRunIn)
        agent = find_agent(self.actor, given.pop("agent"))
        resumed = given.pop("resumes")
        resumes = find_run(self.actor, resumed) if resumed else None
        run = start_run(agent, by=self.actor, resumes=resumes, **given)
        return self._answer(run, 201)

    @extend_schema(request=BlankIn, responses=RunOut)
    @action(detail=True, methods=["post"])
    @idempotent()
    def cancel(self, request: Request, pk: str) -> Response:
        """End the run, its processes with it. Cancelling twice is one cancel; 409 if it ended otherwise."""
        self.read(BlankIn)
        return self._answer(cancel_run(self.get_object(), by=self.actor))

    @extend_schema(request=InputIn, responses=InputOut)
    @action(detail=True, methods=["post"])
    @idempotent()
    def input(self, request: Request, pk: str) -> Response:
        """One more prompt: after the present turn (``queue``) or in its place (``interrupt``)."""
        input_id = send_input(self.get_object(), by=self.actor, **self.read(InputIn))
        return Response(InputOut({"input_id": input_id}).data)

    @extend_schema(responses=DiffOut)
    @action(detail=True, methods=["get"])
    def diff(self, request: Request, pk: str) -> Response:
        """What the run changed in its git repository, as a patch against where it began."""
        return Response(DiffOut(diff_of(self.get_object())).data)

    @extend_schema(responses=ArtifactsOut)
    @action(detail=True, methods=["get"])
    def artifacts(self, request: Request, pk: str) -> Response:
        """What the run left to be looked at, besides its diff."""
        return Response(ArtifactsOut({"results": artifacts_of(self.get_object())}).data)

    @extend_schema(
        operation_id="runs_artifact_download",
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
        parameters=[OpenApiParameter("digest", str, OpenApiParameter.PATH, description="SHA-256, in hex.")],
    )
    @action(
        detail=True,
        methods=["get"],
        url_path=r"artifacts/(?P<digest>[0-9a-f]{64})",
        renderer_classes=[JSONRenderer, Bytes],
    )
    def artifact(self, request: Request, pk: str, digest: str) -> HttpResponse:
        """One artifact, or the patch, as bytes to be saved: what an agent wrote is never shown as a page of ours."""
        name, data = find_blob(self.get_object(), digest)
        return as_download(name, data)

    @extend_schema(
        request=DecideIn,
        responses=ApprovalOut,
        parameters=[OpenApiParameter("approval", OpenApiTypes.UUID, OpenApiParameter.PATH)],
    )
    @action(detail=True, methods=["post"], url_path=r"approvals/(?P<approval>[0-9a-f-]{36})/decide")
    @idempotent()
    def decide(self, request: Request, pk: str, approval: str) -> Response:
        """Answer an approval with one of its options, or cancel it. The first answer wins; later ones get 409."""
        given = self.read(DecideIn)
        run, wanted = self.get_object(), uuid_of(approval)
        found = shown_approvals(self.actor).filter(run=run, pk=wanted).first() if wanted else None
        if found is None:
            raise NotFound()
        decide_approval(found, by=self.actor, **given)
        return Response(ApprovalOut(found).data)

    def _answer(self, run: Run, status: int = 200) -> Response:
        """The run as it is now: services return it without what lists and details count on."""
        return Response(RunOut(self.get_queryset().get(pk=run.pk)).data, status=status)


def with_summaries(runs: QuerySet[Run]) -> QuerySet[Run]:
    """What is shown of prompt and diff beside a run, without loading either: both may be long."""
    return runs.defer("diff").annotate(
        prompt_excerpt=Left("prompt", EXCERPT_CHARS),
        files_changed=F("diff__files_changed"),
        additions=F("diff__additions"),
        deletions=F("diff__deletions"),
    )


def etag_of(agent: Agent) -> str:
    """Changes whenever the agent does."""
    return f'"{agent.updated_at.timestamp():.6f}"'
