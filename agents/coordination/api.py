"""REST: tasks, rounds, locks and limits, for operators."""

from typing import Any
from uuid import UUID

import django_filters as filters
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.api import find_project
from agenthub_site.accounts.idempotency import idempotent
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, require
from agenthub_site.accounts.rest import HubViewSet
from nodes.contract.errors import Invalid

from ..filters import by_id_or, by_state
from ..models import Agent
from .models import Lock, Round, Task
from .queries import find_colleague, limits_of
from .serializers import DispatcherIn, LimitsIn, LimitsOut, LockOut, NoteIn, RoundOut, RoundRowOut, TaskIn, TaskOut
from .services.limits import edit_limits
from .services.rounds import approve_round, reject_round
from .services.tasks import close_task, create_task, hand_task
from .states import RoundState, TaskState


class TaskFilter(filters.FilterSet):  # type: ignore[misc]
    state = by_state(*TaskState)
    project = filters.CharFilter(method="by_project", label="A project's slug or id.")
    key = filters.CharFilter(label="The id that its creator chose.")

    by_project = by_id_or("project__slug", "project_id")

    class Meta:
        model = Task
        fields = ("state", "project", "key")


class RoundFilter(filters.FilterSet):  # type: ignore[misc]
    state = by_state(*RoundState)
    project = filters.CharFilter(method="by_project", label="A project's slug or id.")
    task = filters.CharFilter(method="by_task", label="A task's key or id.")

    by_project = by_id_or("project__slug", "project_id")
    by_task = by_id_or("task__key", "task_id")

    class Meta:
        model = Round
        fields = ("state", "project", "task")


class LockFilter(filters.FilterSet):  # type: ignore[misc]
    project = filters.CharFilter(method="by_project", label="A project's slug or id.")

    by_project = by_id_or("project__slug", "project_id")

    class Meta:
        model = Lock
        fields = ("project",)


class TaskViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Work that agents plan and do together. Agents come by MCP; here people begin, watch and close it."""

    queryset = Task.objects.none()
    serializer_class = TaskOut
    filterset_class = TaskFilter

    def get_queryset(self) -> QuerySet[Task]:
        tasks: QuerySet[Task] = Task.objects.visible_to(self.actor).select_related("project", "dispatcher")
        return tasks

    @extend_schema(request=TaskIn, responses={201: TaskOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        """Begin a task as a draft, which its dispatcher plans."""
        given = self.read(TaskIn)
        project = find_project(self.actor, given.pop("project"))
        require(self.actor, Can.CREATE_TASK, project.pk)
        name = given.pop("dispatcher", None)
        dispatcher = self._colleague(project.pk, name) if name else None
        task = create_task(project, by=self.actor, dispatcher=dispatcher, **given)
        return Response(self.get_serializer(task).data, status=201)

    @extend_schema(request=DispatcherIn, responses=TaskOut)
    @action(detail=True, methods=["post"])
    @idempotent()
    def hand(self, request: Request, pk: str) -> Response:
        """Give it to another dispatcher, who plans and reviews it from now on."""
        task, name = self.get_object(), self.read(DispatcherIn)["dispatcher"]
        require(self.actor, Can.DECIDE_ROUND, task)
        handed = hand_task(task, self._colleague(task.project_id, name), by=self.actor)
        return Response(self.get_serializer(self.get_queryset().get(pk=handed.pk)).data)

    @extend_schema(request=None, responses=TaskOut)
    @action(detail=True, methods=["post"])
    @idempotent()
    def close(self, request: Request, pk: str) -> Response:
        """End it before it is completed; what is left of it is cancelled."""
        closed = close_task(self.get_object(), by=self.actor)
        return Response(self.get_serializer(self.get_queryset().get(pk=closed.pk)).data)

    def _colleague(self, project_id: UUID, name: str) -> Agent:
        found = find_colleague(project_id, name)
        if found is None:
            why = f"There is no agent {name!r} in the project."
            raise Invalid(why, fields={"dispatcher": [why]})
        return found


class RoundViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Plans of tasks: what waits for an operator, what is under way, and what came of it."""

    queryset = Round.objects.none()
    filterset_class = RoundFilter

    def get_serializer_class(self) -> Any:
        return RoundRowOut if self.action == "list" else RoundOut

    def get_queryset(self) -> QuerySet[Round]:
        rounds: QuerySet[Round] = Round.objects.visible_to(self.actor).select_related("project", "task")
        return rounds if self.action == "list" else rounds.select_related("review__agent")

    @extend_schema(request=NoteIn, responses=RoundOut)
    @action(detail=True, methods=["post"])
    @idempotent()
    def approve(self, request: Request, pk: str) -> Response:
        """Let the plan be carried out: its assignments may be claimed from now on."""
        return self._answer(approve_round(self.get_object(), by=self.actor, **self.read(NoteIn)))

    @extend_schema(request=NoteIn, responses=RoundOut)
    @action(detail=True, methods=["post"])
    @idempotent()
    def reject(self, request: Request, pk: str) -> Response:
        """Refuse the plan: the task's dispatcher plans anew."""
        return self._answer(reject_round(self.get_object(), by=self.actor, **self.read(NoteIn)))

    def _answer(self, round_: Round) -> Response:
        return Response(RoundOut(self.get_queryset().get(pk=round_.pk)).data)


class LockViewSet(mixins.ListModelMixin, HubViewSet):
    """Locks that agents hold or held; one whose `holder` is null or whose `expires_at` is past is free."""

    queryset = Lock.objects.none()
    serializer_class = LockOut
    filterset_class = LockFilter

    def get_queryset(self) -> QuerySet[Lock]:
        locks: QuerySet[Lock] = Lock.objects.visible_to(self.actor).select_related("project", "holder")
        return locks.order_by("-id")


class LimitsViewSet(HubViewSet):
    """What a project's coordinated work is bounded by."""

    queryset = Project.objects.none()
    serializer_class = LimitsOut
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Project]:
        projects: QuerySet[Project] = Project.objects.visible_to(self.actor)
        return projects

    @extend_schema(
        operation_id="limits_retrieve",
        responses=LimitsOut,
        parameters=[OpenApiParameter("project", str, OpenApiParameter.PATH, description="A project's slug or id.")],
    )
    def retrieve(self, request: Request, project: str) -> Response:
        return Response(LimitsOut(limits_of(find_project(self.actor, project).pk)).data)

    @extend_schema(
        operation_id="limits_partial_update",
        request=LimitsIn,
        responses=LimitsOut,
        parameters=[OpenApiParameter("project", str, OpenApiParameter.PATH, description="A project's slug or id.")],
    )
    def partial_update(self, request: Request, project: str) -> Response:
        """Change some of them; they hold from the next step on."""
        found = find_project(self.actor, project)
        require(self.actor, Can.EDIT_LIMITS, found.pk)
        return Response(LimitsOut(edit_limits(found, by=self.actor, **self.read(LimitsIn))).data)
