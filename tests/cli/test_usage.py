"""``agenthub usage`` and ``agenthub budget``."""

from typing import Any

import pytest

from integrations.cli.exits import Exit

from .conftest import Cli
from .small_hub import RUN, SmallHub

SPENT = {
    "key": "x", "label": "mender", "input_tokens": 5, "output_tokens": 2, "total_tokens": 7, "unpriced_tokens": 3,
    "cost": [{"currency": "USD", "amount": 1.5, "estimated": 0.5}],
}  # fmt: skip


def test_what_is_estimated_and_what_is_unpriced_is_said(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes["GET", "/api/v1/usage/"] = (200, {"results": [SPENT], "next": None})
    assert cli("usage", "--by", "agent") == Exit.OK
    assert "1.50 USD (estimated), 3 tokens unpriced" in capsys.readouterr().out


def test_a_budget_in_money_is_sent_in_millionths(cli: Cli, hub: SmallHub) -> None:
    made = {"scope": "project web", "limit": "5.00 USD", "period": "month"}
    hub.routes["POST", "/api/v1/budgets/"] = (201, made)
    assert cli("budget", "set", "5", "--currency", "USD", "--project", "web", "--stop") == Exit.OK
    (sent,) = [seen.body for seen in hub.asked("POST", "/api/v1/budgets/")]
    assert (sent["amount"], sent["unit"], sent["on_exceeded"]) == (5_000_000, "cost", "stop")


def test_prices_are_set_in_millionths_listed_and_removed_by_their_pattern(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    path = "/api/v1/usage/prices/"
    price = {"id": "p-1", "pattern": "gpt-5*", "input_micros": 1_250_000, "output_micros": 10**7, "currency": "USD"}
    hub.routes["PUT", path] = (200, price)
    hub.routes["GET", path] = (200, {"results": [price], "next": None})
    hub.routes["DELETE", f"{path}p-1/"] = (204, None)
    assert cli("usage", "price", "set", "gpt-5*", "--input", "1.25", "--output", "10") == Exit.OK
    (sent,) = [seen.body for seen in hub.asked("PUT", path)]
    assert sent == {name: price[name] for name in ("pattern", "input_micros", "output_micros", "currency")}
    assert cli("usage", "price", "list") == Exit.OK
    assert "1.25 in, 10 out (USD)" in capsys.readouterr().out
    assert cli("usage", "price", "remove", "gpt-5*") == Exit.OK
    assert cli("usage", "price", "remove", "gpt-6*") == Exit.REFUSED


@pytest.mark.parametrize("amount", ["nan", "inf", "-inf", "9e400", "9" * 400, "-1", "much", ""])
def test_what_is_no_amount_is_said_in_one_line(cli: Cli, hub: SmallHub, capsys: Any, amount: str) -> None:
    for words in (
        ("budget", "set", "--currency=USD", f"{amount}"),
        ("usage", "price", "set", "x", f"--input={amount}", "--output=1"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli(*words)
        assert ended.value.code == Exit.USAGE
        assert capsys.readouterr().err.count("\n") == 1
    assert not hub.seen


def test_of_runs_it_is_said_which(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes["GET", "/api/v1/usage/"] = (200, {"results": [{**SPENT, "key": RUN}], "next": None})
    assert cli("usage", "--by", "run") == Exit.OK
    heads, row = capsys.readouterr().out.splitlines()
    assert heads.split()[:2] == ["RUN", "AGENT"]
    assert row.split()[:2] == [RUN[-8:], "mender"]


def test_where_there_are_no_budgets_it_says_so(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes["GET", "/api/v1/budgets/"] = (200, {"results": [], "next": None})
    assert cli("budget", "list") == Exit.OK
    told = capsys.readouterr()
    assert told.out == "" and "No budgets" in told.err
