"""``agenthub route``."""

from typing import Any

import pytest

from integrations.cli.exits import Exit

from .conftest import Cli
from .small_hub import Answer, SmallHub

ROUTE = {
    "id": "01a1fcc2-cfe0-778a-9bc5-c0a5daeae767", "project": "web", "leads_to": "node:gpu-01", "is_for": "everybody",
    "entries": ["cli"], "is_enabled": True, "note": "",
}  # fmt: skip


def test_adding_sends_what_was_said_and_nothing_else(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes["POST", "/api/v1/routes/"] = (201, ROUTE)
    words = ["add", "--project", "web", "--pool", "gpu", "--label", "arch=arm64", "--entry", "cli"]
    assert cli("route", *words) == Exit.OK
    (sent,) = [seen.body for seen in hub.asked("POST", "/api/v1/routes/")]
    assert sent == {"project": "web", "pool": "gpu", "labels": {"arch": "arm64"}, "entries": ["cli"]}
    assert "web may use node:gpu-01" in capsys.readouterr().err


def test_asking_ends_with_4_where_a_run_may_not_go(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    answer = {"is_allowed": False, "because": "No route", "routes": [], "command": "agenthub route add"}
    hub.routes["GET", "/api/v1/routes/test/"] = (200, answer)
    assert cli("route", "test", "--project", "web", "--node", "gpu-01") == Exit.REFUSED
    assert capsys.readouterr().out == "refused: No route\n"


@pytest.mark.parametrize("words", [["--project", "web"], ["--project", "web", "--label", "arch"]])
def test_a_route_that_leads_nowhere_is_wrong_usage(cli: Cli, hub: SmallHub, words: list[str]) -> None:
    assert cli("route", "add", *words) == Exit.USAGE


def test_the_list_is_a_table(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes["GET", "/api/v1/routes/"] = (200, {"results": [ROUTE], "next": None})
    assert cli("route", "list") == Exit.OK
    assert "node:gpu-01" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["--project", "wbe"], ["--node", "gpu-10"], ["--project", "web", "--node", "gpu-10"]]
)
def test_no_routes_of_what_is_not_there_is_no_answer(cli: Cli, hub: SmallHub, capsys: Any, words: list[str]) -> None:
    nothing: Answer = (200, {"results": [], "next": None})
    hub.routes |= {("GET", "/api/v1/routes/"): nothing, ("GET", "/api/v1/nodes/"): nothing}
    hub.routes["GET", "/api/v1/projects/"] = (200, {"results": [{"id": "p-1", "slug": "web"}], "next": None})
    assert cli("route", "list", *words) == Exit.REFUSED
    assert words[-1] in capsys.readouterr().err
    assert cli("route", "list", "--project", "web") == Exit.OK
