"""The last that each run said of its usage, the sums by day, prices, and budgets."""

from __future__ import annotations

from typing import ClassVar, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project, User
from nodes.contract.ids import new_id

from ..models import Agent, Run


class RunUsage(models.Model):
    """Tokens and cost of one run since it began, as far as its runtime says; null is unknown. They only grow."""

    run = models.OneToOneField(Run, primary_key=True, on_delete=models.CASCADE, related_name="usage")
    project_id = models.UUIDField(editable=False)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    total_tokens = models.BigIntegerField(null=True)
    cost_micros = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3, blank=True)
    model = models.CharField(max_length=128)
    updated_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["project_id", "-run"], name="usage_of_a_project")]


class DayUsage(models.Model):
    """What arrived on one day (UTC), summed for everything that budgets and tables ask for.

    Of runs whose runtime tells no cost the tokens are kept apart (``unpriced_…``): what they cost is asked of the
    prices, each time.
    """

    pk = models.CompositePrimaryKey("day", "project_id", "agent_id", "user_id", "model", "currency")
    day = models.DateField()
    project_id = models.UUIDField()
    agent_id = models.UUIDField()
    user_id = models.UUIDField()
    """Zero where nobody started the run."""
    model = models.CharField(max_length=128)
    currency = models.CharField(max_length=3)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    total_tokens = models.BigIntegerField(default=0)
    cost_micros = models.BigIntegerField(default=0)
    unpriced_input = models.BigIntegerField(default=0)
    unpriced_output = models.BigIntegerField(default=0)
    unpriced_total = models.BigIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["project_id", "day"], name="day_usage_of_a_project"),
            models.Index(fields=["agent_id", "day"], name="day_usage_of_an_agent"),
            models.Index(fields=["user_id", "day"], name="day_usage_of_a_user"),
        ]


class Price(models.Model):
    """What a million tokens of the models that fit ``pattern`` cost, for runs whose runtime tells no cost."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    pattern = models.CharField(max_length=128, unique=True)
    input_micros = models.BigIntegerField(validators=[MinValueValidator(0), MaxValueValidator(10**12)])
    output_micros = models.BigIntegerField(validators=[MinValueValidator(0), MaxValueValidator(10**12)])
    currency = models.CharField(max_length=3, default="USD")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pattern",)

    def __str__(self) -> str:
        return self.pattern


class BudgetQuerySet(models.QuerySet["Budget"]):
    def visible_to(self, actor: Actor) -> Self:
        """Those of the projects that one sees, and of oneself; the instance's are root's."""
        if actor.sees_all:
            return self
        mine = Q(user=actor.user_id) if actor.user_id else Q(pk__in=())
        return self.filter(Q(project_id__in=actor.project_ids) | mine)


class Budget(models.Model):
    """How much may be used in a day or a month (UTC): of a project, one of its agents, a person, or by all."""

    class Unit(models.TextChoices):
        COST = "cost"
        TOKENS = "tokens"

    class Period(models.TextChoices):
        DAY = "day"
        MONTH = "month"

    class OnExceeded(models.TextChoices):
        REFUSE = "refuse", "refuse new runs"
        STOP = "stop", "refuse new runs, and stop live ones"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    unit = models.CharField(max_length=8, choices=Unit.choices, default=Unit.COST)
    amount = models.BigIntegerField(validators=[MinValueValidator(1), MaxValueValidator(10**15)])
    """Tokens, or millionths of the currency."""
    currency = models.CharField(max_length=3, blank=True, default="")
    period = models.CharField(max_length=8, choices=Period.choices, default=Period.MONTH)
    warn_percent = models.PositiveSmallIntegerField(
        default=80, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    on_exceeded = models.CharField(max_length=8, choices=OnExceeded.choices, default=OnExceeded.REFUSE)
    created_by = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    # The beginning of the period for which it was said that it nears its end, or is over: once each.
    warned_for = models.DateField(null=True, editable=False)
    exceeded_for = models.DateField(null=True, editable=False)

    objects: ClassVar = BudgetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(user=None) | Q(project=None, agent=None), name="a_budget_is_a_persons_or_a_projects"
            ),
            models.CheckConstraint(
                condition=Q(agent=None) | Q(project__isnull=False), name="an_agents_budget_names_its_project"
            ),
            models.CheckConstraint(
                condition=Q(unit="tokens", currency="") | Q(unit="cost") & ~Q(currency=""), name="a_cost_has_a_currency"
            ),
        ]
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.scope}: {self.limit} a {self.period}"

    @property
    def scope(self) -> str:
        if self.user:
            return f"user {self.user.username}"
        if self.agent:
            return f"agent {self.agent.name}"
        return f"project {self.project.slug}" if self.project else "everybody"

    @property
    def limit(self) -> str:
        return self.as_text(self.amount)

    def as_text(self, amount: int) -> str:
        """``12.50 USD``, or ``5,000 tokens``."""
        return f"{amount / 1_000_000:,.2f} {self.currency}" if self.unit == self.Unit.COST else f"{amount:,} tokens"
