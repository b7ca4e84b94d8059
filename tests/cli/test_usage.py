"""``agenthub usage`` and ``agenthub budget``."""

from typing import Any

from integrations.cli.exits import Exit

from .conftest import Cli
from .small_hub import SmallHub

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
