"""Prices of models whose runtimes tell tokens and no cost. They are the hub's: root sets them."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from nodes.contract.errors import Invalid

from .models import Price


@transaction.atomic
def set_price(pattern: str, *, by: Actor, input_micros: int, output_micros: int, currency: str = "USD") -> Price:
    """Say what a million tokens of the models that fit ``pattern`` cost, in millionths, in place of what was said.

    It holds for what was used before as well: an estimate is made each time it is asked. Raises ``Invalid``.
    """
    require(by, Can.SET_PRICES)
    price = Price.objects.select_for_update(no_key=True).filter(pattern=pattern).first() or Price(pattern=pattern)
    price.input_micros, price.output_micros, price.currency = input_micros, output_micros, currency
    _check(price)
    price.save()
    record(
        None, "price.set", by=by, of=("price", price.pk), pattern=pattern, input_micros=input_micros,
        output_micros=output_micros, currency=currency,
    )  # fmt: skip
    return price


@transaction.atomic
def remove_price(price: Price, *, by: Actor) -> None:
    """From then on those models are unpriced, or another pattern's. Twice is once."""
    require(by, Can.SET_PRICES)
    if Price.objects.filter(pk=price.pk).delete()[0]:
        record(None, "price.removed", by=by, of=("price", price.pk), pattern=price.pattern)


def _check(price: Price) -> None:
    problems: dict[str, Any] = {}
    if not (len(price.currency) == 3 and price.currency.isascii() and price.currency.isupper()):
        problems["currency"] = ["Three capital letters, as in USD."]
    try:
        price.clean_fields(exclude=list(problems))
    except ValidationError as error:
        problems |= error.message_dict
    if problems:
        raise Invalid(
            "The price does not fit: " + "; ".join(f"{k}: {v[0]}" for k, v in problems.items()), fields=problems
        )
