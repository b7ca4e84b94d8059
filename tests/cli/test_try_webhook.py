"""``agenthub webhook test``: what a person is told of what came of it."""

from typing import Any

import pytest

from integrations.cli.exits import Exit
from integrations.cli.webhook import _outcome

from .conftest import Cli
from .small_hub import Answer, SmallHub


@pytest.mark.parametrize(
    ("state", "answer", "told"),
    [
        ("acked", "204", "took it: 204"),
        ("dead", "It answered 404.", "did not take it, and it is given up: It answered 404."),
        ("queued", "Connection refused", "did not take it, and it is posted again: Connection refused"),
        ("queued", "", "was not posted to yet: is `agenthub worker` running, or does it rest after a failure?"),
    ],
)
def test_what_came_of_it_is_told_in_one_line(state: str, answer: str, told: str) -> None:
    assert _outcome({"state": state}, answer) == told


def test_no_webhooks_of_a_project_that_is_not_there_is_no_answer(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    nothing: Answer = (200, {"results": [], "next": None})
    hub.routes |= {("GET", f"/api/v1/{noun}/"): nothing for noun in ("webhooks", "projects")}
    assert cli("webhook", "list", "--project", "wbe") == Exit.REFUSED
    assert "no project 'wbe'" in capsys.readouterr().err
