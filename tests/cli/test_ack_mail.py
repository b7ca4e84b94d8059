"""``agenthub actor ack``: several ids, of which some are none."""

import json
from pathlib import Path
from typing import Any

import pytest

from integrations.cli import actor
from integrations.cli.where import Where


def test_an_id_that_is_none_is_asked_for_with_the_others_and_the_exit_code_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []
    no = {"message_id": "nonsense", "error": {"code": "not_found", "message": "There is no message nonsense."}}
    yes = {"message_id": "m", "number": 7, "status": "acked", "status_changed": True}

    def answer(options: Any, where: Where, body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body)
        return {"results": [no, yes]}

    monkeypatch.setattr(actor, "_ask", answer)
    assert actor.main(["ack", "--actor-id", "demo", "--message-id", "nonsense", "--message-id", "7"], Where(home)) == 1
    assert asked == [{"message_ids": ["nonsense", 7]}]
    assert json.loads(capsys.readouterr().out) == [no, yes]
