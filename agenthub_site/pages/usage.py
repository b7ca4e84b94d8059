"""What a project used and what it cost, its budgets, and what stands near their end."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agenthub_site.accounts.models import Project, User
from agenthub_site.accounts.permissions import Can, may, require
from agents.models import Agent, Run
from agents.usage.budgets import add_budget, edit_budget, period_of, remove_budget, spent_of
from agents.usage.models import Budget, DayUsage, Price
from agents.usage.queries import Spent, sum_up
from agents.usage.services import NOBODY
from agents.usage.telling import Told
from nodes.contract.errors import HubError

from .doors import PageRequest, page, show_in_form
from .forms import StyledForm

DAYS: Final = {"7": 7, "30": 30, "90": 90}
RUNS: Final = 20
_MILLION: Final = 1_000_000


def _plainly(amount: Decimal) -> str:
    """All of its digits, and no zeros after them: 12.5, 1000."""
    return f"{amount:f}".rstrip("0").rstrip(".") if "." in f"{amount:f}" else f"{amount:f}"


class BudgetForm(StyledForm):
    """``unit`` and ``agent`` are chosen once; what it is of stays."""

    amount = forms.DecimalField(min_value=0, max_digits=22, decimal_places=6, help_text="Tokens, or money.")
    currency = forms.ChoiceField(
        required=False, choices=[("", "tokens"), ("USD", "USD"), ("EUR", "EUR"), ("GBP", "GBP"), ("CHF", "CHF")],
        label="Of",
    )  # fmt: skip
    period = forms.ChoiceField(choices=[("day", "a day"), ("month", "a month")], initial="month", label="In")
    agent = forms.ModelChoiceField(Agent.objects.none(), required=False, empty_label="the whole project", label="For")
    warn_percent = forms.IntegerField(min_value=1, max_value=100, initial=80, label="Warn from (%)")
    on_exceeded = forms.ChoiceField(choices=Budget.OnExceeded.choices, label="When it is spent")

    def __init__(self, *args: Any, project: Project, budget: Budget | None = None, **kwargs: Any) -> None:
        if budget:
            money = budget.unit == Budget.Unit.COST
            kwargs["initial"] = {
                "amount": _plainly(Decimal(budget.amount) / _MILLION) if money else budget.amount,
                "currency": budget.currency,
                "warn_percent": budget.warn_percent, "on_exceeded": budget.on_exceeded,
            }  # fmt: skip
        super().__init__(*args, **kwargs)
        if budget:
            del self.fields["agent"], self.fields["period"], self.fields["currency"]
        else:
            self.fields["agent"].queryset = Agent.objects.filter(project=project, archived_at=None)  # type: ignore[attr-defined]

    def said(self, budget: Budget | None = None) -> dict[str, Any]:
        """What the services take."""
        given = dict(self.cleaned_data)
        currency = budget.currency if budget else given["currency"]
        given["amount"] = round(given["amount"] * (_MILLION if currency else 1))
        return given if budget else {**given, "unit": "cost" if currency else "tokens"}


class State:
    """A budget as it stands in its present period."""

    def __init__(self, budget: Budget, now: datetime) -> None:
        self.budget = budget
        self.amount = spent_of(budget, now)
        self.again = period_of(budget, now)[1]

    @property
    def percent(self) -> int:
        return 100 * self.amount // self.budget.amount

    @property
    def bar(self) -> int:
        """For a progress element, which ends at 100."""
        return min(100, self.percent)

    @property
    def spent(self) -> str:
        return self.budget.as_text(self.amount)

    @property
    def level(self) -> str:
        if self.amount >= self.budget.amount:
            return "spent"
        return "near" if self.percent >= self.budget.warn_percent else ""


def pressing(project_id: UUID, agent_id: UUID | None = None) -> list[State]:
    """Budgets of the project (or what concerns one of its agents) that near their end, or are spent.

    Only those of which the loop has said so, so that most pages pay one query.
    """
    budgets = Budget.objects.filter(project=project_id).select_related("project", "agent", "user")
    said = [budget for budget in budgets if budget.warned_for or budget.exceeded_for]
    if agent_id:
        said = [budget for budget in said if budget.agent_id in (None, agent_id)]
    states = [State(budget, datetime.now(UTC)) for budget in said]
    return [state for state in states if state.level]


def _project(request: PageRequest, slug: str, needed: Can = Can.VIEW_USAGE) -> Project:
    found: Project = get_object_or_404(Project.objects.visible_to(request.actor), slug=slug)
    require(request.actor, needed, found.pk)
    return found


@require_GET
@page
def usage(request: PageRequest, slug: str) -> HttpResponse:
    return _show(request, _project(request, slug))


def _show(request: PageRequest, project: Project, **more: Any) -> HttpResponse:
    asked = request.GET.get("days", "")
    days = DAYS.get(asked, 30)
    now = datetime.now(UTC)
    since = now.date() - timedelta(days=days - 1)
    rows = DayUsage.objects.filter(project_id=project.pk, day__gte=since)
    all_ = sum_up(rows)
    budgets = Budget.objects.filter(project=project).select_related("project", "agent", "user")
    context = {
        "project": project,
        "days": days,
        "choices": [int(each) for each in DAYS],
        "total": all_[0] if all_ else None,
        "by_day": _by_day(rows, since, now.date()),
        "by_agent": _named(sum_up(rows, "agent"), _agents(project)),
        "by_user": _named(sum_up(rows, "user"), _people(rows)),
        "by_run": _by_run(project),
        "budgets": [State(budget, now) for budget in budgets],
        "may_budget": may(request.actor, Can.EDIT_BUDGET, project.pk),
        "budget_form": BudgetForm(project=project),
        **more,
    }
    form = context["budget_form"]
    is_wrong = form.is_bound and form.errors
    return render(request, "pages/usage/usage.html", context, status=400 if is_wrong else 200)


def _by_day(rows: Any, since: date, until: date) -> list[dict[str, Any]]:
    """Every day of the time, from the first to the last, with its share of the largest for a bar."""
    found = {spent.key: spent for spent in sum_up(rows, "day")}
    most = max((spent.total_tokens for spent in found.values()), default=0) or 1
    shown = []
    for each in range((until - since).days + 1):
        day = since + timedelta(days=each)
        spent = found.get(day)
        shown.append({"day": day, "spent": spent, "share": 100 * spent.total_tokens // most if spent else 0})
    return shown


def _named(found: list[Spent], names: dict[Any, str]) -> list[Spent]:
    """The largest first."""
    for spent in found:
        spent.label = names.get(spent.key, "nobody" if spent.key == NOBODY else "somebody who is gone")
    return sorted(found, key=lambda spent: -spent.total_tokens)


def _agents(project: Project) -> dict[Any, str]:
    return dict(Agent.objects.filter(project=project).values_list("pk", "name"))


def _people(rows: Any) -> dict[Any, str]:
    return dict(User.objects.filter(pk__in=rows.order_by().values("user_id")).values_list("pk", "username"))


def _by_run(project: Project) -> list[tuple[Run, Spent]]:
    """The latest that told anything."""
    prices = list(Price.objects.all())
    runs = Run.objects.filter(project=project, usage__isnull=False).select_related("usage", "agent")
    shown = []
    for run in runs.defer("prompt", "diff").order_by("-pk")[:RUNS]:
        row, spent = run.usage, Spent(key=run.pk)
        told = Told(row.input_tokens, row.output_tokens, row.total_tokens, row.cost_micros, row.currency)
        spent.add(row.model, row.currency, told.shares(), prices)
        shown.append((run, spent))
    return shown


@require_POST
@page
def add(request: PageRequest, slug: str) -> HttpResponse:
    project = _project(request, slug, Can.EDIT_BUDGET)
    form = BudgetForm(request.POST, project=project)
    if form.is_valid():
        try:
            add_budget(by=request.actor, project=project, **form.said())
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "The budget counts from now on, with what this period has used already.")
            return redirect("usage", slug)
    return _show(request, project, budget_form=form)


def _budget(request: PageRequest, project: Project, budget_id: UUID) -> Budget:
    found: Budget = get_object_or_404(Budget.objects.select_related("project", "agent"), project=project, pk=budget_id)
    return found


@require_http_methods(["GET", "POST"])
@page
def budget(request: PageRequest, slug: str, budget_id: UUID) -> HttpResponse:
    project = _project(request, slug, Can.EDIT_BUDGET)
    found = _budget(request, project, budget_id)
    form = BudgetForm(request.POST or None, project=project, budget=found)
    if request.method == "POST" and form.is_valid():
        try:
            edit_budget(found, by=request.actor, **form.said(found))
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "Saved. If it was raised, runs start again at once.")
            return redirect("usage", slug)
    context = {"project": project, "budget": found, "form": form}
    return render(request, "pages/usage/budget.html", context, status=400 if form.errors else 200)


@require_POST
@page
def remove(request: PageRequest, slug: str, budget_id: UUID) -> HttpResponse:
    project = _project(request, slug, Can.EDIT_BUDGET)
    remove_budget(_budget(request, project, budget_id), by=request.actor)
    messages.success(request, "The budget is gone.")
    return redirect("usage", slug)
