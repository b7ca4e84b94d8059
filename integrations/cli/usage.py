"""``agenthub usage`` and ``agenthub budget``: what runs used, and how much they may."""

import argparse
import json
import sys
from typing import Any, Final

from .client import Client, Json
from .commands import Missing, Wrong, say
from .exits import Exit
from .parsers import amount, positive
from .render import clean, short_id, table

USAGE: Final = "/api/v1/usage/"
BUDGETS: Final = "/api/v1/budgets/"
PRICES: Final = "/api/v1/usage/prices/"
_COUNTS: Final = ("input_tokens", "output_tokens", "total_tokens")


def add_usage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", choices=("day", "agent", "project", "user", "run"), default="day", help="(day)")
    parser.add_argument("--project", metavar="P", help="only this one, by its slug")
    parser.add_argument("--since", metavar="DAY", help="as in 2026-11-01 (30 days ago)")
    parser.add_argument("--until", metavar="DAY", help="and that day is counted in")
    parser.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")
    add_price_arguments(parser.add_subparsers(dest="word", metavar="price"))


def add_price_arguments(words: Any) -> None:
    """``usage price list|set|remove``, beside the options of ``usage`` itself."""
    price = words.add_parser("price", help="what models cost whose runtimes do not tell: root sets it")
    actions = price.add_subparsers(dest="action", required=True, metavar="list|set|remove")
    listing = actions.add_parser("list", help="list them")
    set_ = actions.add_parser("set", help="set the price of the models that fit a pattern")
    set_.add_argument("pattern", help="of their names, as in 'gpt-5*'; the longest that fits counts")
    set_.add_argument("--input", type=amount, required=True, metavar="MONEY", help="of a million input tokens")
    set_.add_argument("--output", type=amount, required=True, metavar="MONEY", help="of a million output tokens")
    set_.add_argument("--currency", default="USD", help="(USD)")
    remove = actions.add_parser("remove", help="forget one")
    remove.add_argument("pattern")
    for each in (listing, set_, remove):
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")


def manage_prices(client: Client, options: argparse.Namespace) -> Exit:
    if options.action == "set":
        given = {"pattern": options.pattern, "currency": options.currency,
                 "input_micros": round(options.input * 1_000_000),
                 "output_micros": round(options.output * 1_000_000)}  # fmt: skip
        made = client.put(PRICES, given)
        say(options, made, f"a million tokens of {made['pattern']}: {_price(made)}.")
        return Exit.OK
    prices = list(client.every(PRICES, limit=200))
    if options.action == "remove":
        found = next((price for price in prices if price["pattern"] == options.pattern), None)
        if found is None:
            raise Missing(f"There is no price of {options.pattern!r}. `agenthub usage price list` lists them.")
        client.delete(f"{PRICES}{found['id']}/")
        say(options, {"id": found["id"]}, f"{options.pattern} has no price any more.")
    elif options.json:
        print(json.dumps(prices, ensure_ascii=False))
    elif not prices:
        print("agenthub: No prices: what a runtime tells no cost of is unpriced.", file=sys.stderr)
    else:
        table(
            [(clean(price["pattern"]), _price(price)) for price in prices], ("MODELS", "A MILLION TOKENS"), sys.stdout
        )
    return Exit.OK


def _price(price: Json) -> str:
    each = f"{price['input_micros'] / 1e6:g} in, {price['output_micros'] / 1e6:g} out"
    return f"{each} ({clean(price['currency'])})"


def add_budget_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|set|remove")
    listing = actions.add_parser("list", help="list those that you may see, with what is spent")
    set_ = actions.add_parser("set", help="make one: of a project, an agent, a person; with none of them, of everybody")
    set_.add_argument("amount", type=amount, help="tokens; or money, with --currency")
    set_.add_argument("--currency", help="as in USD; without, the amount is tokens")
    set_.add_argument("--project", metavar="P", help="of this project, by its slug")
    set_.add_argument("--agent", metavar="A", help="of this agent: its id, or project/name")
    set_.add_argument("--user", metavar="U", help="of this person, by user name")
    set_.add_argument("--period", choices=("day", "month"), default="month", help="(month; days are UTC's)")
    set_.add_argument("--warn", type=positive, default=80, metavar="PERCENT", help="say so from here on (80)")
    set_.add_argument("--stop", action="store_true", help="when it is spent, stop live runs as well")
    remove = actions.add_parser("remove", help="forget one")
    remove.add_argument("budget", help="its id, its beginning or end as far as it is unique")
    for each in (listing, set_, remove):
        each.add_argument("--json", action="store_true", help="print JSON; errors too, in the API's shape")


def show_usage(client: Client, options: argparse.Namespace) -> Exit:
    if options.word == "price":
        return manage_prices(client, options)
    found = list(client.every(USAGE, by=options.by, project=options.project, since=options.since, until=options.until))
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
    elif not found:
        print("agenthub: Nothing was used, as far as the runtimes told.", file=sys.stderr)
    else:
        is_run = options.by == "run"
        rows = [
            (
                *((short_id(item["key"]),) if is_run else ()),
                item["label"] or item["key"],
                item["input_tokens"],
                item["output_tokens"],
                item["total_tokens"],
                _cost(item),
            )
            for item in found
        ]
        heads = ("RUN", "AGENT") if is_run else (options.by.upper(),)
        table(rows, (*heads, "IN", "OUT", "TOKENS", "COST"), sys.stdout)
    return Exit.OK


def manage_budgets(client: Client, options: argparse.Namespace) -> Exit:
    match options.action:
        case "set":
            made = client.post(BUDGETS, _wanted(options))
            say(options, made, f"{made['scope']} may use {made['limit']} a {made['period']}.")
        case "remove":
            found = _find(client, options.budget)
            client.delete(f"{BUDGETS}{found['id']}/")
            say(options, {"id": found["id"]}, f"the budget of {found['scope']} is gone.")
        case _:
            budgets = list(client.every(BUDGETS, limit=200))
            if options.json:
                print(json.dumps(budgets, ensure_ascii=False))
                return Exit.OK
            rows = [
                (short_id(each["id"]), each["scope"], f"{each['limit']} a {each['period']}",
                 f"{100 * each['spent'] // each['amount']} %", each["on_exceeded"])
                for each in budgets
            ]  # fmt: skip
            if rows:
                table(rows, ("BUDGET", "OF", "LIMIT", "SPENT", "THEN"), sys.stdout)
            else:
                print("agenthub: No budgets. Make one: agenthub budget set", file=sys.stderr)
    return Exit.OK


def _wanted(options: argparse.Namespace) -> Json:
    scale = 1_000_000 if options.currency else 1
    if options.amount * scale < 1:
        raise Wrong("A budget is more than nothing.")
    given: dict[str, Any] = {"project": options.project, "agent": options.agent, "user": options.user,
                             "currency": options.currency}  # fmt: skip
    return {name: value for name, value in given.items() if value} | {
        "unit": "cost" if options.currency else "tokens", "amount": round(options.amount * scale),
        "period": options.period, "warn_percent": options.warn, "on_exceeded": "stop" if options.stop else "refuse",
    }  # fmt: skip


def _cost(item: Json) -> str:
    parts = [
        f"{money['amount']:.2f} {money['currency']}" + (" (estimated)" if money["estimated"] else "")
        for money in item["cost"]
    ]
    return ", ".join([*parts, *([f"{item['unpriced_tokens']} tokens unpriced"] if item["unpriced_tokens"] else [])])


def _find(client: Client, part: str) -> Json:
    wanted = part.replace("-", "").lower()
    ids = [(item["id"].replace("-", ""), item) for item in client.every(BUDGETS, limit=200)]
    found = [item for whole, item in ids if wanted and (whole.startswith(wanted) or whole.endswith(wanted))]
    if len(found) != 1:
        raise Missing(f"{len(found) or 'No'} budgets fit {part!r}. `agenthub budget list` lists them.")
    return found[0]
