"""Sums of what was used: its cost where that is known, estimated where there is a price, else *unpriced*."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from django.db.models import QuerySet, Sum

from .models import DayUsage, Price

GROUPS: Final = {"agent": "agent_id", "project": "project_id", "user": "user_id", "day": "day"}
_SUMS: Final = (
    "input_tokens", "output_tokens", "total_tokens", "cost_micros", "unpriced_input", "unpriced_output",
    "unpriced_total",
)  # fmt: skip


@dataclass(slots=True)
class Spent:
    """Of one group. Money is in millionths, by currency; ``estimated`` is the part of ``cost`` that no runtime told."""

    key: Any = None
    label: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    unpriced_tokens: int = 0
    cost: dict[str, int] = field(default_factory=dict)
    estimated: dict[str, int] = field(default_factory=dict)

    def add(self, model: str, currency: str, figures: Sequence[int], prices: Sequence[Price]) -> None:
        tokens_in, tokens_out, total, cost, unpriced_in, unpriced_out, unpriced = figures
        self.input_tokens += tokens_in
        self.output_tokens += tokens_out
        self.total_tokens += total
        if cost:
            self.cost[currency] = self.cost.get(currency, 0) + cost
        if not unpriced:
            return
        price = price_of(model, prices)
        if price is None or not (unpriced_in or unpriced_out):
            self.unpriced_tokens += unpriced
            return
        guess = round((unpriced_in * price.input_micros + unpriced_out * price.output_micros) / 1_000_000)
        for sums in (self.cost, self.estimated):
            sums[price.currency] = sums.get(price.currency, 0) + guess


def price_of(model: str, prices: Iterable[Price]) -> Price | None:
    """The one whose pattern says most of the name: its longest."""
    fitting = [price for price in prices if fnmatchcase(model, price.pattern)]
    return max(fitting, key=lambda price: len(price.pattern)) if fitting else None


def sum_up(rows: QuerySet[DayUsage], by: str = "") -> list[Spent]:
    """By agent, project, user or day, or all as one. Two queries, however many rows there are."""
    prices = list(Price.objects.all())
    column = GROUPS.get(by)
    keys = [column] if column else []
    groups: dict[Any, Spent] = defaultdict(Spent)
    summed = rows.order_by().values_list(*keys, "model", "currency").annotate(*(Sum(name) for name in _SUMS))
    for *key, model, currency, in_, out, total, cost, free_in, free_out, free in summed:
        group = groups[key[0] if key else None]
        group.key = key[0] if key else None
        group.add(model, currency, (in_, out, total, cost, free_in, free_out, free), prices)
    return list(groups.values())
