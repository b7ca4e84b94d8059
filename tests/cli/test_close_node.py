"""``agenthub node cordon``, ``drain`` and ``uncordon``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integrations.cli import node
from integrations.cli.exits import Exit
from integrations.cli.where import Where

from .small_hub import SmallHub

REGISTERED = "/api/admin/agent-nodes/gpu-01"


@pytest.fixture
def registered(hub: SmallHub) -> SmallHub:
    row = {"id": "0199a1b2-0000-7000-8000-000000000001", "slug": "gpu-01", "name": "gpu-01"}
    hub.routes["GET", "/api/v1/nodes/"] = (200, {"results": [row], "next": None})
    hub.routes["PATCH", REGISTERED] = (200, {"id": "gpu-01", "state": "draining", "live_runs": 2})
    return hub


@pytest.fixture
def run(registered: SmallHub, home: Path) -> Callable[..., int]:
    return lambda *words: node.main(words, Where(home))


@pytest.mark.parametrize(
    ("word", "change"),
    [("cordon", {"is_cordoned": True}), ("drain", {"is_draining": True}), ("uncordon", {"is_cordoned": False})],
)
def test_each_changes_one_thing(
    run: Callable[..., int], registered: SmallHub, word: str, change: dict[str, bool]
) -> None:
    assert run(word, "gpu-01") == Exit.OK
    assert [seen.body for seen in registered.asked("PATCH", REGISTERED)] == [change]


def test_what_is_left_is_said(run: Callable[..., int], registered: SmallHub, capsys: Any) -> None:
    assert run("drain", "gpu-01") == Exit.OK
    assert "gpu-01 gets no new runs; 2 runs go on there." in capsys.readouterr().err
    assert run("drain", "gpu-01", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["live_runs"] == 2


def test_a_node_that_is_not_there_is_said(run: Callable[..., int], registered: SmallHub, capsys: Any) -> None:
    assert run("drain", "gpu-02", "--json") == Exit.REFUSED
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not_found"


@pytest.mark.parametrize("words", [("--force",), ("--status", "--force")])
def test_force_alone_begins_no_new_authority(run: Callable[..., int], registered: SmallHub, words: tuple[str]) -> None:
    assert run("rotate-ca", *words) == Exit.USAGE
    assert registered.seen == []
