"""REST: what was used and what it cost, and budgets."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils.dateparse import parse_date
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import mixins, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenthub_site.accounts.api import find_user
from agenthub_site.accounts.idempotency import idempotent
from agenthub_site.accounts.models import Project, User
from agenthub_site.accounts.newest import Parts, projects_apart
from agenthub_site.accounts.permissions import Can, may, require
from agenthub_site.accounts.rest import HubViewSet, In
from nodes.contract.errors import Invalid, NotFound

from ..models import Agent, Run
from ..queries import find_agent
from .budgets import add_budget, edit_budget, remove_budget, spent_of, spent_of_each
from .models import Budget, DayUsage, Price, RunUsage
from .queries import Spent, sum_up
from .telling import Told

_LAST_DAY = date(9999, 12, 30)
_GROUPS = ("agent", "project", "user", "day", "run")
_LABELS: dict[str, tuple[Any, str]] = {
    "agent": (Agent, "name"), "project": (Project, "slug"), "user": (User, "username"),
}  # fmt: skip


class MoneyOut(serializers.Serializer[Any]):
    currency = serializers.CharField()
    amount = serializers.FloatField(help_text="All of it, with what is estimated.")
    estimated = serializers.FloatField(help_text="The part that no runtime told: tokens by the table of prices.")


class SpentOut(serializers.Serializer[Any]):
    key = serializers.CharField(help_text="An id, or a day.")
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment]
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    cost = MoneyOut(many=True)
    unpriced_tokens = serializers.IntegerField(help_text="Tokens of which nobody says what they cost.")


class UsageOut(serializers.Serializer[Any]):
    results = SpentOut(many=True)
    next = serializers.CharField(allow_null=True, default=None)
    previous = serializers.CharField(allow_null=True, default=None)


def _shown(spent: Spent, label: str = "") -> dict[str, Any]:
    cost = [
        {"currency": currency, "amount": micros / 1e6, "estimated": spent.estimated.get(currency, 0) / 1e6}
        for currency, micros in sorted(spent.cost.items())
    ]
    return {
        "key": str(spent.key), "label": label, "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens, "total_tokens": spent.total_tokens, "cost": cost,
        "unpriced_tokens": spent.unpriced_tokens,
    }  # fmt: skip


class UsageViewSet(HubViewSet):
    """Tokens and cost, as the runtimes tell them, of the projects that you may see."""

    queryset = RunUsage.objects.none()
    serializer_class = UsageOut
    filter_backends = ()

    @extend_schema(
        operation_id="usage_list",
        parameters=[
            OpenApiParameter("by", str, enum=_GROUPS, description="What each result is of; day, if left out."),
            OpenApiParameter("project", str, description="A project's slug."),
            OpenApiParameter("since", str, description="A day, as in 2026-11-01; 30 days ago, if left out."),
            OpenApiParameter("until", str, description="A day, and it is counted in."),
        ],
        responses=UsageOut,
    )
    def list(self, request: Request) -> Response:
        asked = request.query_params
        by = asked.get("by", "day")
        if by not in _GROUPS:
            raise Invalid(fields={"by": [f"One of {', '.join(_GROUPS)}."]})
        today = datetime.now(UTC).date()
        since, until = self._day("since") or today - timedelta(days=30), self._day("until") or today
        projects = Project.objects.visible_to(self.actor)
        if slug := asked.get("project"):
            project = projects.filter(slug=slug).first()
            if project is None:
                raise NotFound(f"There is no project {slug!r} that you may see.")
            require(self.actor, Can.VIEW_USAGE, project.pk)
            projects = projects.filter(pk=project.pk)
        ids = [pk for pk in projects.values_list("pk", flat=True) if may(self.actor, Can.VIEW_USAGE, pk)]
        if by == "run":
            return self._runs(ids, since, until)
        rows = DayUsage.objects.filter(project_id__in=ids, day__gte=since, day__lte=until)
        spent = sorted(sum_up(rows, by), key=lambda each: str(each.key))
        labels: dict[Any, str] = {}
        if by in _LABELS:
            model, name = _LABELS[by]
            labels = dict(model.objects.filter(pk__in=[each.key for each in spent]).values_list("pk", name))
        shown = [_shown(each, labels.get(each.key, "")) for each in spent]
        return Response({"results": shown, "next": None, "previous": None})

    def _runs(self, ids: Any, since: Any, until: Any) -> Response:
        runs = Run.objects.filter(project__in=ids, usage__isnull=False).select_related("usage", "agent")
        begin, end = (datetime.combine(day, time(), UTC) for day in (since, min(until, _LAST_DAY) + timedelta(days=1)))
        # As times: of how many rows a day computed from them is so late, PostgreSQL has no idea, and plans for few.
        runs = runs.filter(usage__updated_at__gte=begin, usage__updated_at__lt=end)
        is_narrowed = bool({"since", "until"} & self.request.query_params.keys())
        self._projects = [] if is_narrowed else ids  # of few days there may be few: all is read once, and not twice
        page = self.paginate_queryset(runs.defer("prompt", "diff")) or []
        prices = list(Price.objects.all())
        shown = []
        for run in page:
            row, spent = run.usage, Spent(key=run.pk)
            told = Told(row.input_tokens, row.output_tokens, row.total_tokens, row.cost_micros, row.currency)
            spent.add(row.model, row.currency, told.shares(), prices)
            shown.append(_shown(spent, run.agent.name))
        return self.get_paginated_response(shown)

    def parts(self) -> Parts | None:
        return projects_apart(self._projects)

    def _day(self, name: str) -> Any:
        text = self.request.query_params.get(name)
        if text is None:
            return None
        try:
            day = parse_date(text)
        except ValueError:
            day = None
        if day is None:
            raise Invalid(fields={name: ["A day, as in 2026-11-01."]})
        return day


class BudgetChangesIn(In):
    amount = serializers.IntegerField(min_value=1, max_value=10**15, help_text="Tokens, or millionths of the currency.")
    currency = serializers.CharField(max_length=3, allow_blank=True, required=False)
    warn_percent = serializers.IntegerField(min_value=1, max_value=100, required=False)
    on_exceeded = serializers.ChoiceField(choices=Budget.OnExceeded.choices, required=False)


class BudgetIn(BudgetChangesIn):
    project = serializers.CharField(max_length=64, required=False, help_text="A slug.")
    agent = serializers.CharField(max_length=160, required=False, help_text="Its id, or project/name.")
    user = serializers.CharField(max_length=150, required=False, help_text="A user name: over all projects. Root only.")
    unit = serializers.ChoiceField(choices=Budget.Unit.choices, required=False)
    period = serializers.ChoiceField(choices=Budget.Period.choices, required=False)


class BudgetOut(serializers.ModelSerializer[Budget]):
    project = serializers.CharField(source="project.slug", default=None, allow_null=True)
    agent = serializers.CharField(source="agent.name", default=None, allow_null=True)
    user = serializers.CharField(source="user.username", default=None, allow_null=True)
    scope = serializers.CharField(help_text="In words.")
    limit = serializers.CharField(help_text="In words.")
    spent = serializers.SerializerMethodField(help_text="In this period, in the budget's unit.")

    class Meta:
        model = Budget
        fields = (
            "id", "project", "agent", "user", "scope", "unit", "amount", "currency", "limit", "period", "spent",
            "warn_percent", "on_exceeded", "created_by", "created_at",
        )  # fmt: skip

    def get_spent(self, budget: Budget) -> int:
        known: dict[UUID, int] = self.context.get("spent", {})
        return known[budget.pk] if budget.pk in known else spent_of(budget, datetime.now(UTC))


class BudgetViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """How much may be used in a day or a month; what is spent refuses new runs, or stops live ones as well."""

    queryset = Budget.objects.none()
    serializer_class = BudgetOut
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Budget]:
        """An agent sees its project, and not what that may cost."""
        budgets: QuerySet[Budget] = Budget.objects.visible_to(self.actor)
        if not self.actor.is_within_scope(Can.VIEW_USAGE):
            return budgets.none()
        if not self.actor.sees_all:
            unseen = [pk for pk in self.actor.project_ids if not may(self.actor, Can.VIEW_USAGE, pk)]
            budgets = budgets.exclude(project_id__in=unseen)
        return budgets.select_related("project", "agent", "user")

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        self._spent = spent_of_each(page or [], datetime.now(UTC))
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """For a page, what each of its budgets has spent: asked for all together."""
        return {**super().get_serializer_context(), "spent": getattr(self, "_spent", {})}

    @extend_schema(request=BudgetIn, responses={201: BudgetOut})
    @idempotent()
    def create(self, request: Request) -> Response:
        given = self.read(BudgetIn)
        agent = find_agent(self.actor, given.pop("agent")) if "agent" in given else None
        slug = given.pop("project", agent.project.slug if agent else None)
        project = Project.objects.visible_to(self.actor).filter(slug=slug).first() if slug else None
        if slug and project is None:
            raise NotFound(f"There is no project {slug!r} that you may see.")
        require(self.actor, Can.EDIT_BUDGET, project.pk if project else None)
        user = find_user(given.pop("user")) if "user" in given else None
        made = add_budget(by=self.actor, project=project, agent=agent, user=user, **given)
        return Response(self.get_serializer(made).data, status=201)

    @extend_schema(request=BudgetChangesIn, responses=BudgetOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        changes = self.read(BudgetChangesIn, partial=True)
        return Response(self.get_serializer(edit_budget(self.get_object(), by=self.actor, **changes)).data)

    @extend_schema(responses={204: OpenApiResponse(description="Removed.")})
    def destroy(self, request: Request, pk: str) -> Response:
        remove_budget(self.get_object(), by=self.actor)
        return Response(status=204)
