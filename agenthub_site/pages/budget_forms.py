"""What people fill in about a budget."""

from decimal import Decimal
from typing import Any, Final

from django import forms

from agenthub_site.accounts.api import find_user
from agenthub_site.accounts.models import Project, User
from agents.models import Agent
from agents.usage.models import Budget
from nodes.contract.errors import Invalid

from .forms import StyledForm

_MILLION: Final = 1_000_000


def _plainly(amount: Decimal) -> str:
    """All of its digits, and no zeros after them: 12.5, 1000."""
    return f"{amount:f}".rstrip("0").rstrip(".") if "." in f"{amount:f}" else f"{amount:f}"


class BudgetForm(StyledForm):
    """Of a project or an ``agent`` of it; without a project, of a ``person`` or of everybody. That is chosen once."""

    amount = forms.DecimalField(min_value=0, max_digits=22, decimal_places=6, help_text="Tokens, or money.")
    currency = forms.ChoiceField(
        required=False, choices=[("", "tokens"), ("USD", "USD"), ("EUR", "EUR"), ("GBP", "GBP"), ("CHF", "CHF")],
        label="Of",
    )  # fmt: skip
    period = forms.ChoiceField(choices=[("day", "a day"), ("month", "a month")], initial="month", label="In")
    agent = forms.ModelChoiceField(Agent.objects.none(), required=False, empty_label="the whole project", label="For")
    person = forms.CharField(
        required=False, max_length=150, label="For", widget=forms.TextInput(attrs={"placeholder": "everybody"}),
        help_text="A user name: what they start in all projects. Nothing: everybody.",
    )  # fmt: skip
    warn_percent = forms.IntegerField(min_value=1, max_value=100, initial=80, label="Warn from (%)")
    on_exceeded = forms.ChoiceField(choices=Budget.OnExceeded.choices, label="When it is spent")

    def __init__(self, *args: Any, project: Project | None, budget: Budget | None = None, **kwargs: Any) -> None:
        if budget:
            money = budget.unit == Budget.Unit.COST
            kwargs["initial"] = {
                "amount": _plainly(Decimal(budget.amount) / _MILLION) if money else budget.amount,
                "currency": budget.currency,
                "warn_percent": budget.warn_percent, "on_exceeded": budget.on_exceeded,
            }  # fmt: skip
        super().__init__(*args, **kwargs)
        if budget:
            for name in ("agent", "person", "period", "currency"):
                del self.fields[name]
        elif project is None:
            del self.fields["agent"]
        else:
            del self.fields["person"]
            self.fields["agent"].queryset = Agent.objects.filter(project=project, archived_at=None)  # type: ignore[attr-defined]

    def clean_person(self) -> User | None:
        name = self.cleaned_data["person"]
        try:
            return find_user(name) if name else None
        except Invalid as error:
            raise forms.ValidationError(error.text) from error

    def said(self, budget: Budget | None = None) -> dict[str, Any]:
        """What the services take."""
        given = dict(self.cleaned_data)
        currency = budget.currency if budget else given["currency"]
        given["amount"] = round(given["amount"] * (_MILLION if currency else 1))
        if budget is None:
            given["unit"] = "cost" if currency else "tokens"
            given["user"] = given.pop("person", None)
        return given
