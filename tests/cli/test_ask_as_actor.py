"""The command line of ``agenthub actor``: what is sent, what is refused before that, and how mail is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from integrations.cli import actor
from integrations.cli.where import Where

MAIL = {
    "number": 7, "message_id": "01a2", "kind": "message", "from": {"name": "web/mender", "id": "a"}, "subject": "",
    "payload": {"text": "Hello"}, "created_at": "2026-11-22T01:25:36.7Z", "redelivered": 0, "state": "queued",
    "leased_until": None,
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the hub would have been asked; it answers with mail in each state."""
    bodies: list[dict[str, Any]] = []
    leased = {**MAIL, "number": 8, "state": "leased", "leased_until": "2026-11-22T01:26:36.7Z", "redelivered": 2}

    def answer(options: Any, where: Where, body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(body)
        return {"messages": [MAIL, leased, {**MAIL, "number": 9, "state": "acked"}]}

    monkeypatch.setattr(actor, "_ask", answer)
    return bodies


def test_mail_is_shown_with_what_answers_it_and_what_became_of_it(
    home: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert actor.main(["inbox"], Where(home)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "#7 message from web/mender, 2026-11-22T01:25:36Z",
        "  id 01a2",
        '  {"text": "Hello"}',
        "#8 message from web/mender, 2026-11-22T01:25:36Z, leased until 2026-11-22T01:26:36Z (again, 2 times before)",
        "  id 01a2",
        '  {"text": "Hello"}',
        "#9 message from web/mender, 2026-11-22T01:25:36Z, acked",
        "  id 01a2",
        '  {"text": "Hello"}',
    ]


def test_json_may_stand_before_the_command(
    home: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert actor.main(["--json", "inbox", "--limit", "3"], Where(home)) == 0
    assert json.loads(capsys.readouterr().out)["messages"][0]["number"] == 7
    assert asked == [{"limit": 3, "after": 0, "include_delivered": False}]


@pytest.mark.parametrize(
    "words",
    [
        ["send", "--to", "demo", "--text", "Hello", "--dedupe-key", ""],
        ["time-trigger-set", "--delay-seconds", "60", "--message", "Look", "--key", ""],
    ],
)
def test_an_empty_key_is_none_and_no_reason_to_make_one_up(
    home: Path, asked: list[dict[str, Any]], words: list[str]
) -> None:
    assert (actor.main(words, Where(home)), asked) == (2, [])
