"""What a ``run.usage`` record says, as far as it makes sense, and what it adds to what was known. Pure."""

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

MOST_TOKENS: Final = 10**13
MOST_COST: Final = 10**6
NO_CURRENCY: Final = "XXX"
"""In ISO 4217's words: of a run that told its cost in several, which then is not known."""
_CURRENCY: Final = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Told:
    """Since the run began; None is unknown. Cost is in millionths."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cost_micros: int | None = None
    currency: str = ""

    def raised_by(self, other: "Told") -> "Told":
        """Figures only grow: a repeat, or what comes late, changes nothing. In several currencies a cost is unknown."""
        currency = self.currency or other.currency
        if other.currency not in ("", currency):
            currency = NO_CURRENCY
        is_known = currency != NO_CURRENCY
        return Told(
            _larger(self.input_tokens, other.input_tokens),
            _larger(self.output_tokens, other.output_tokens),
            _larger(self.total_tokens, other.total_tokens),
            _larger(self.cost_micros, other.cost_micros) if is_known else None,
            currency,
        )

    @property
    def tokens(self) -> int:
        """All of them: the total, or what its parts sum up to."""
        return max(self.total_tokens or 0, (self.input_tokens or 0) + (self.output_tokens or 0))

    def shares(self) -> tuple[int, ...]:
        """As the columns of a day count it: tokens in, out, all; cost; the same tokens while there is no cost."""
        tokens = (self.input_tokens or 0, self.output_tokens or 0, self.tokens)
        return (*tokens, self.cost_micros or 0, *(tokens if self.cost_micros is None else (0, 0, 0)))


def read_usage(payload: bytes) -> Told | None:
    """What can be used of it; a node's word is not trusted to make sense. None if nothing can."""
    try:
        said = from_json(payload, allow_inf_nan=False)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    currency, cost = said.get("currency"), _micros(said.get("cost"))
    if not (isinstance(currency, str) and _CURRENCY.fullmatch(currency)):
        currency = "USD"
    told = Told(
        _count(said.get("input_tokens")),
        _count(said.get("output_tokens")),
        _count(said.get("total_tokens")),
        None if currency == NO_CURRENCY else cost,
        "" if cost is None else currency,
    )
    return None if told.shares() == Told().shares() and told.cost_micros is None else told


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None


def _micros(value: Any) -> int | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return round(value * 1_000_000) if is_number and math.isfinite(value) and 0 <= value <= MOST_COST else None


def _larger(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else max(one, other)
