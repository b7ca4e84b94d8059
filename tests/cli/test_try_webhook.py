"""``agenthub webhook test``: what a person is told of what came of it."""

import pytest

from integrations.cli.webhook import _outcome


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
