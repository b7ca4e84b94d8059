"""``agenthub team``."""

import json
from typing import Any

import pytest

from integrations.cli.exits import Exit

from .conftest import Cli
from .small_hub import SmallHub

TEAM = {
    "id": "01a1fcc2-cfe0-778a-9bc5-c0a5daeae767", "project": "web", "slug": "docs", "name": "Manual",
    "members": [{"kind": "agent", "id": "1", "name": "mender"}, {"kind": "user", "id": "2", "name": "bob"}],
}  # fmt: skip
ONE = f"/api/v1/teams/{TEAM['id']}/"


@pytest.fixture(autouse=True)
def teams(hub: SmallHub) -> None:
    hub.routes["GET", "/api/v1/teams/"] = (200, {"results": [TEAM], "next": None})


def test_making_one_sends_what_was_said_and_nothing_else(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes["POST", "/api/v1/teams/"] = (201, TEAM)
    assert cli("team", "create", "docs", "mender", "user:bob", "--project", "web") == Exit.OK
    (sent,) = [seen.body for seen in hub.asked("POST", "/api/v1/teams/")]
    assert sent == {"project": "web", "slug": "docs", "members": ["mender", "user:bob"]}
    assert "team:docs has mender, user:bob." in capsys.readouterr().err


@pytest.mark.parametrize("word", ["add", "remove"])
def test_members_come_and_go_by_the_teams_name(cli: Cli, hub: SmallHub, capsys: Any, word: str) -> None:
    hub.routes["POST", f"{ONE}{word}-members/"] = (200, TEAM)
    assert cli("team", word, "team:docs", "mender", "--json") == Exit.OK
    (sent,) = [seen.body for seen in hub.asked("POST", f"{ONE}{word}-members/")]
    assert sent == {"members": ["mender"]} and json.loads(capsys.readouterr().out) == TEAM


def test_a_team_is_called_otherwise_and_written_to_as_before(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes["PATCH", ONE] = (200, {**TEAM, "name": "Handbook"})
    assert cli("team", "rename", "docs", "Handbook", "--project", "web") == Exit.OK
    (sent,) = [seen.body for seen in hub.asked("PATCH", ONE)]
    assert sent == {"name": "Handbook"} and 'team:docs is called "Handbook" now' in capsys.readouterr().err


def test_deleting_says_what_stays(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes["DELETE", ONE] = (204, {})
    assert cli("team", "delete", "docs") == Exit.OK
    assert hub.asked("DELETE", ONE) and "what was written to it stays" in capsys.readouterr().err


def test_the_list_shows_who_is_in_each(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    assert cli("team", "list", "--project", "web") == Exit.OK
    assert "team:docs" in (told := capsys.readouterr().out) and "mender, user:bob" in told
    hub.routes["GET", "/api/v1/teams/"] = (200, {"results": [], "next": None})
    assert cli("team", "list") == Exit.OK
    assert "Make one: agenthub team create" in capsys.readouterr().err


def test_which_team_is_meant_is_asked(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    assert cli("team", "add", "nets", "mender") == Exit.REFUSED
    assert "`agenthub team list` lists them" in capsys.readouterr().err
    assert cli("team", "delete", "all") == Exit.USAGE
    other = {**TEAM, "id": "2", "project": "pier"}
    hub.routes["GET", "/api/v1/teams/"] = (200, {"results": [TEAM, other], "next": None})
    assert cli("team", "delete", "docs") == Exit.REFUSED
    assert "Say --project" in capsys.readouterr().err


def test_no_teams_of_a_project_that_is_not_there_is_no_answer(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes |= {("GET", f"/api/v1/{noun}/"): (200, {"results": [], "next": None}) for noun in ("teams", "projects")}
    assert cli("team", "list", "--project", "wbe") == Exit.REFUSED
    assert "no project 'wbe'" in capsys.readouterr().err
