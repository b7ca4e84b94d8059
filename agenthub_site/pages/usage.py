"""What a project used, or the whole hub, and what it cost; the budgets, and what stands near their end."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agenthub_site.accounts.models import Project, User
from agenthub_site.accounts.newest import newest, projects_apart
from agenthub_site.accounts.permissions import Can, may, require
from agents.models import Agent, Run
from agents.usage.budgets import add_budget, edit_budget, period_of, remove_budget, spent_of_each
from agents.usage.models import Budget, DayUsage, Price
from agents.usage.queries import Spent, sum_up
from agents.usage.services import NOBODY
from agents.usage.telling import Told
from nodes.contract.errors import HubError

from .budget_forms import BudgetForm
from .doors import PageRequest, page, show_in_form

DAYS: Final = {"7": 7, "30": 30, "90": 90}
RUNS: Final = 20


class State:
    """A budget as it stands in its present period."""

    def __init__(self, budget: Budget, amount: int, now: datetime) -> None:
        self.budget = budget
        self.amount = amount
        self.again = period_of(budget, now)[1]

    @classmethod
    def of_each(cls, budgets: Iterable[Budget]) -> "list[State]":
        found, now = list(budgets), datetime.now(UTC)
        sums = spent_of_each(found, now)
        return [cls(budget, sums[budget.pk], now) for budget in found]

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

    @property
    def of(self) -> str:
        """Whom it is for, where its page does not say so: ``for codex``; nothing for a whole project."""
        if self.budget.agent:
            return f"for {self.budget.agent.name}"
        if self.budget.user:
            return f"for {self.budget.user.username}"
        return "" if self.budget.project_id else "for everybody"

    @property
    def edit_address(self) -> str:
        return _address(self.budget.project, "edit_budget", self.budget.pk)

    @property
    def remove_address(self) -> str:
        return _address(self.budget.project, "remove_budget", self.budget.pk)


def pressing(project_id: UUID, agent_id: UUID | None = None) -> list[State]:
    """Budgets of the project (or what concerns one of its agents) that near their end, or are spent.

    Only those of which the loop has said so, so that most pages pay one query.
    """
    budgets = Budget.objects.filter(project=project_id).select_related("project", "agent", "user")
    said = [budget for budget in budgets if budget.warned_for or budget.exceeded_for]
    if agent_id:
        said = [budget for budget in said if budget.agent_id in (None, agent_id)]
    return [state for state in State.of_each(said) if state.level]


def _address(project: Project | None, name: str, *args: Any) -> str:
    """Of a page about the project's usage; without one, of the page of the same kind about the whole hub."""
    return reverse(name, args=[project.slug, *args]) if project else reverse(f"hub_{name}", args=args)


def _scope(request: PageRequest, slug: str, needed: Can) -> Project | None:
    """The project, if there is a slug. Everybody may look at what is not one project's: it is what they see anyway."""
    if slug:
        found: Project = get_object_or_404(Project.objects.visible_to(request.actor), slug=slug)
        require(request.actor, needed, found.pk)
        return found
    if needed is not Can.VIEW_USAGE:
        require(request.actor, needed)
    return None


@require_GET
@page
def usage(request: PageRequest, slug: str = "") -> HttpResponse:
    """A project's; without a slug that of all projects one sees, with the budgets of people and of everybody."""
    return _show(request, _scope(request, slug, Can.VIEW_USAGE))


def _show(request: PageRequest, project: Project | None, **more: Any) -> HttpResponse:
    asked = request.GET.get("days", "")
    days = DAYS.get(asked, 30)
    now = datetime.now(UTC)
    since = now.date() - timedelta(days=days - 1)
    seen = [project] if project else _seen(request)
    ids = [each.pk for each in seen]
    rows = DayUsage.objects.filter(project_id__in=ids, day__gte=since)
    all_ = sum_up(rows)
    budgets = Budget.objects.visible_to(request.actor).filter(project=project)
    context = {
        "project": project,
        "address": _address(project, "usage"),
        "days": days,
        "choices": [int(each) for each in DAYS],
        "total": all_[0] if all_ else None,
        "by_day": _by_day(rows, since, now.date()),
        "by_project": [] if project else _named(sum_up(rows, "project"), {each.pk: each.name for each in seen}),
        "by_agent": _named(sum_up(rows, "agent"), _agents(project)) if project else [],
        "by_user": _named(sum_up(rows, "user"), _people(rows)),
        "by_run": _by_run(ids),
        "budgets": State.of_each(budgets.select_related("project", "agent", "user")),
        "may_budget": may(request.actor, Can.EDIT_BUDGET, project.pk if project else None),
        "budget_form": BudgetForm(project=project),
        "add_address": _address(project, "add_budget"),
        **more,
    }
    form = context["budget_form"]
    is_wrong = form.is_bound and form.errors
    return render(request, "pages/usage/usage.html", context, status=400 if is_wrong else 200)


def _seen(request: PageRequest) -> list[Project]:
    visible = Project.objects.visible_to(request.actor)
    return [each for each in visible if may(request.actor, Can.VIEW_USAGE, each.pk)]


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


def _by_run(projects: list[UUID]) -> list[tuple[Run, Spent]]:
    """The latest that told anything."""
    prices = list(Price.objects.all())
    runs = Run.objects.filter(project__in=projects, usage__isnull=False).select_related("usage", "agent__project")
    shown = []
    for run in newest(runs.defer("prompt", "diff"), projects_apart(projects), RUNS).order_by("-pk")[:RUNS]:
        row, spent = run.usage, Spent(key=run.pk)
        told = Told(row.input_tokens, row.output_tokens, row.total_tokens, row.cost_micros, row.currency)
        spent.add(row.model, row.currency, told.shares(), prices)
        shown.append((run, spent))
    return shown


@require_POST
@page
def add(request: PageRequest, slug: str = "") -> HttpResponse:
    project = _scope(request, slug, Can.EDIT_BUDGET)
    form = BudgetForm(request.POST, project=project)
    if form.is_valid():
        try:
            add_budget(by=request.actor, project=project, **form.said())
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "The budget counts from now on, with what this period has used already.")
            return redirect(_address(project, "usage"))
    return _show(request, project, budget_form=form)


def _budget(project: Project | None, budget_id: UUID) -> Budget:
    among = Budget.objects.select_related("project", "agent", "user")
    found: Budget = get_object_or_404(among, project=project, pk=budget_id)
    return found


@require_http_methods(["GET", "POST"])
@page
def budget(request: PageRequest, budget_id: UUID, slug: str = "") -> HttpResponse:
    project = _scope(request, slug, Can.EDIT_BUDGET)
    found = _budget(project, budget_id)
    form = BudgetForm(request.POST or None, project=project, budget=found)
    if request.method == "POST" and form.is_valid():
        try:
            edit_budget(found, by=request.actor, **form.said(found))
        except HubError as error:
            show_in_form(form, error)
        else:
            messages.success(request, "Saved. If it was raised, runs start again at once.")
            return redirect(_address(project, "usage"))
    (state,) = State.of_each([found])
    context = {"project": project, "state": state, "form": form, "address": _address(project, "usage")}
    return render(request, "pages/usage/budget.html", context, status=400 if form.errors else 200)


@require_POST
@page
def remove(request: PageRequest, budget_id: UUID, slug: str = "") -> HttpResponse:
    project = _scope(request, slug, Can.EDIT_BUDGET)
    remove_budget(_budget(project, budget_id), by=request.actor)
    messages.success(request, "The budget is gone.")
    return redirect(_address(project, "usage"))
