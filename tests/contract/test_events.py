import json
from typing import Any

import pytest
from pydantic import ValidationError

from nodes.contract.events import ENDINGS, PAYLOADS, STATEFUL, SYNCED, RunStarted
from tools.event_docs import DOCS, losses, render, schemas


def test_the_generated_pages_are_those_of_the_contract() -> None:
    stale = [name for name, text in render().items() if (DOCS / name).read_text("utf-8") != text]
    assert not stale, "run 'make events'"


def test_the_contract_has_lost_nothing_that_was_committed() -> None:
    assert losses(json.loads((DOCS / "schema.json").read_text("utf-8")), schemas()) == []


@pytest.mark.parametrize(
    ("change", "loss"),
    [
        (lambda s: s.pop("run.usage"), "run.usage: the type is gone"),
        (lambda s: s["run.output"]["properties"].pop("text"), "run.output.text is gone"),
        (lambda s: s["run.usage"]["required"].append("cost"), "run.usage.cost is required now"),
        (lambda s: s["run.output"]["properties"].update(text={"type": "integer"}), "run.output.text changed its type"),
        (lambda s: s["run.diff.ready"]["$defs"]["FileChange"]["properties"].pop("path"), "/FileChange.path is gone"),
    ],
)
def test_a_loss_is_seen(change: Any, loss: str) -> None:
    old, new = json.loads(json.dumps(schemas())), json.loads(json.dumps(schemas()))
    new["run.usage"].setdefault("required", [])
    change(new)
    assert [found for found in losses(old, new) if loss in found]


def test_undeclared_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        RunStarted.model_validate({"runtime": "acp", "workspace": "/w", "secret": "x"})


def test_endings_and_questions_are_on_stable_storage_before_they_are_sent() -> None:
    assert ENDINGS <= SYNCED <= PAYLOADS.keys()
    assert ENDINGS <= STATEFUL <= PAYLOADS.keys()
