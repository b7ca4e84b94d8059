"""Budgets: who sets them, what they say to a new run, and what happens to those under way when one is spent."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Actor
from agenthub_site.accounts.models import Project, User
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes.contract.errors import Forbidden, Invalid

from ..models import Agent
from .models import Budget, DayUsage
from .queries import Spent, sum_up

_PLAIN: Final = ("unit", "amount", "currency", "period", "warn_percent", "on_exceeded")


class BudgetExceeded(Forbidden):
    """``data``: the ``budget``, what is ``spent``, the ``limit``, and when the next period begins."""

    code = "budget_exceeded"


@transaction.atomic
def add_budget(
    *, by: Actor, project: Project | None = None, agent: Agent | None = None, user: User | None = None, **fields: Any
) -> Budget:
    """Owners set those of their project and its agents; root those of a person, and of everybody (neither named)."""
    require(by, Can.EDIT_BUDGET, project.pk if project else None)
    budget = Budget(project=project, agent=agent, user=user, created_by=(by.label or by.id)[:150], **fields)
    _check(budget)
    budget.save(force_insert=True)
    record(
        budget.project_id, "budget.added", by=by, of=("budget", budget.pk), scope=budget.scope, limit=budget.limit,
        period=budget.period, on_exceeded=budget.on_exceeded,
    )  # fmt: skip
    return budget


@transaction.atomic
def edit_budget(budget: Budget, *, by: Actor, **changes: Any) -> Budget:
    """What it is of stays; a raised one lets runs start at once."""
    require(by, Can.EDIT_BUDGET, budget.project_id)
    budget = Budget.objects.select_for_update(no_key=True, of=("self",)).get(pk=budget.pk)
    changed = sorted(name for name, value in changes.items() if name in _PLAIN and getattr(budget, name) != value)
    if changed:
        for name in changed:
            setattr(budget, name, changes[name])
        _check(budget)
        budget.warned_for = budget.exceeded_for = None
        budget.save(update_fields=[*changed, "warned_for", "exceeded_for"])
        record(budget.project_id, "budget.edited", by=by, of=("budget", budget.pk), changed=changed, limit=budget.limit)
    return budget


@transaction.atomic
def remove_budget(budget: Budget, *, by: Actor) -> None:
    require(by, Can.EDIT_BUDGET, budget.project_id)
    record(budget.project_id, "budget.removed", by=by, of=("budget", budget.pk), scope=budget.scope, limit=budget.limit)
    budget.delete()


def _check(budget: Budget) -> None:
    problems: dict[str, list[str]] = {}
    if budget.unit == Budget.Unit.TOKENS:
        budget.currency = ""
    elif not (len(budget.currency) == 3 and budget.currency.isascii() and budget.currency.isupper()):
        problems["currency"] = ["Three capital letters, as in USD."]
    if budget.user and (budget.project or budget.agent):
        problems["user"] = ["A person's budget is over all projects."]
    if budget.agent and budget.agent.project_id != budget.project_id:
        problems["agent"] = ["It belongs to another project."]
    try:
        budget.clean_fields(exclude=["project", "agent", "user", "created_by", *problems])
    except ValidationError as error:
        problems |= error.message_dict
    if problems:
        raise Invalid(
            "The budget does not fit: " + "; ".join(f"{k}: {v[0]}" for k, v in problems.items()), fields=problems
        )


# Asking.


def period_of(budget: Budget, now: datetime) -> tuple[date, date]:
    """When its present period began, and when the next one does. Days are UTC's."""
    today = now.astimezone(UTC).date()
    if budget.period == Budget.Period.DAY:
        return today, today + timedelta(days=1)
    first = today.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


def spent_of(budget: Budget, now: datetime) -> int:
    """In the budget's unit, since its period began. What has no price is in no sum of money. Two queries."""
    return spent_of_each([budget], now)[budget.pk]


def spent_of_each(budgets: Iterable[Budget], now: datetime) -> dict[UUID, int]:
    """``spent_of`` each, by id: two queries for all that are of the same kind and period, however many those are."""
    alike: dict[tuple[str, date], list[Budget]] = defaultdict(list)
    for budget in budgets:
        alike[_kind_of(budget), period_of(budget, now)[0]].append(budget)
    found: dict[UUID, int] = {}
    for (kind, since), some in alike.items():
        rows: QuerySet[DayUsage] = DayUsage.objects.filter(day__gte=since)
        if kind:
            rows = rows.filter(**{f"{kind}_id__in": {getattr(budget, f"{kind}_id") for budget in some}})
        sums = {spent.key: spent for spent in sum_up(rows, kind)}
        for budget in some:
            spent = sums.get(getattr(budget, f"{kind}_id") if kind else None, Spent())
            is_tokens = budget.unit == Budget.Unit.TOKENS
            found[budget.pk] = spent.total_tokens if is_tokens else spent.cost.get(budget.currency, 0)
    return found


def _kind_of(budget: Budget) -> str:
    """Of whom it is, as sums are grouped: ``user``, ``agent``, ``project``; empty for everybody's."""
    return next((kind for kind in ("user", "agent", "project") if getattr(budget, f"{kind}_id")), "")


def budgets_over(agent: Agent, user: Any) -> Iterable[Budget]:
    """Those that a run of the agent, started by this person, counts into. One query."""
    mine = Q(user=user) if user else Q(pk__in=())
    whole = Q(project=None, agent=None, user=None)
    of_project = Q(project=agent.project_id) & (Q(agent=None) | Q(agent=agent))
    return Budget.objects.filter(mine | whole | of_project).select_related("project", "agent", "user")


def require_budget(agent: Agent, user: Any, now: datetime | None = None) -> None:
    """Raise ``BudgetExceeded`` if one of the budgets that the run would count into is spent."""
    now = now or timezone.now()
    for budget in budgets_over(agent, user):
        if (spent := spent_of(budget, now)) >= budget.amount:
            again = period_of(budget, now)[1]
            raise BudgetExceeded(
                f"The budget of {budget.scope} is spent: {budget.as_text(spent)} of {budget.limit} this "
                f"{budget.period}. Runs start again on {again}, or when the budget is raised.",
                budget=str(budget.pk), spent=spent, limit=budget.amount, unit=budget.unit, again=str(again),
            )  # fmt: skip


def judge(now: datetime) -> list[Budget]:
    """Say once a period that a budget nears its end, or is spent; those that are spent."""
    spent_out = []
    budgets = list(Budget.objects.select_related("project", "agent", "user"))
    sums = spent_of_each(budgets, now)
    for budget in budgets:
        spent, since = sums[budget.pk], period_of(budget, now)[0]
        if spent >= budget.amount:
            _say_once(budget, "exceeded", since, spent)
            spent_out.append(budget)
        elif spent * 100 >= budget.amount * budget.warn_percent:
            _say_once(budget, "warned", since, spent)
    return spent_out


@transaction.atomic
def _say_once(budget: Budget, word: str, since: date, spent: int) -> None:
    column = f"{word}_for"
    unsaid = Budget.objects.filter(Q(**{column: None}) | ~Q(**{column: since}), pk=budget.pk)
    if unsaid.update(**{column: since}):
        record(
            budget.project_id, f"budget.{word}", by=SYSTEM, of=("budget", budget.pk), scope=budget.scope,
            spent=budget.as_text(spent), limit=budget.limit,
        )  # fmt: skip
