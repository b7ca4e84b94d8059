"""``agenthub policy list|add|remove|grants``."""

import json
from pathlib import Path

import pytest

from integrations.cli import policy
from integrations.cli.exits import Exit
from integrations.cli.where import Where

from .conftest import Cli
from .small_hub import Answer, Seen, SmallHub

RULES, GRANTS, REVIEWS = "/api/v1/policy/rules/", "/api/v1/policy/grants/", "/api/v1/policy/reviews/"
PROJECT = {"id": "p-1", "slug": "web"}
RULE = {
    "id": "r-1", "level": "project", "project": "web", "agent_name": None, "position": 0, "verdict": "deny",
    "about": "command git push*", "is_strict": False, "is_enabled": True, "note": "People release.",
}  # fmt: skip
GRANT = {
    "id": "g-1", "project": "web", "agent_name": "demo", "about": "shell · command npm test",
    "author": {"kind": "user", "id": "7", "label": "alice"}, "expires_at": "2026-12-21T06:19:48Z", "last_used_at": None,
}  # fmt: skip


@pytest.fixture
def cli(home: Path) -> Cli:
    return lambda *arguments: policy.main(arguments, Where(home))


@pytest.fixture(autouse=True)
def kept(hub: SmallHub) -> None:
    hub.routes["GET", RULES] = (200, {"results": [RULE], "next": None})
    hub.routes["GET", "/api/v1/projects/"] = (200, {"results": [PROJECT], "next": None})
    hub.routes["GET", GRANTS] = (200, {"results": [GRANT], "next": None})


def test_a_rule_is_added_where_it_is_said(cli: Cli, hub: SmallHub) -> None:
    hub.routes["POST", RULES] = (201, RULE)
    assert cli("add", "deny", "--project", "web", "--command", "git push*") == Exit.OK
    [seen] = hub.asked("POST", RULES)
    assert seen.body == {"project": "web", "command": "git push*", "verdict": "deny", "is_strict": False}


def test_rules_and_standing_answers_are_listed(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("list", "--project", "web") == Exit.OK
    assert "deny command git push*" in capsys.readouterr().out
    assert cli("grants") == Exit.OK
    assert "web/demo" in capsys.readouterr().out
    assert cli("grants", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == [GRANT]


def test_the_rules_of_an_agent_are_those_of_every_level_in_order(
    cli: Cli, hub: SmallHub, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = {"id": "a-1", "name": "mender", "project_slug": "web"}
    hub.routes["GET", "/api/v1/agents/"] = (200, {"results": [agent], "next": None})
    asked_of = {
        "agent": ({"agent": ["a-1"]}, RULE | {"level": "agent", "agent_name": "mender"}),
        "project": ({"project": ["web"]}, RULE),
        "instance": ({}, RULE | {"level": "instance", "project": None}),
    }

    def rules(seen: Seen) -> Answer:
        (level,) = seen.query.pop("level")
        narrowed, rule = asked_of[level]
        return 200, {"results": [rule] if seen.query == narrowed | {"limit": ["200"]} else [], "next": None}

    hub.routes["GET", RULES] = rules
    assert cli("list", "--agent", "mender", "--json") == Exit.OK
    assert [rule["level"] for rule in json.loads(capsys.readouterr().out)] == ["instance", "project", "agent"]
    assert cli("list", "--agent", "web/mender", "--level", "project", "--json") == Exit.OK
    assert [rule["level"] for rule in json.loads(capsys.readouterr().out)] == ["project"]
    assert cli("list", "--agent", "painter") == Exit.REFUSED


@pytest.mark.parametrize(("id_", "path"), [("r-1", f"{RULES}r-1/"), ("g-1", f"{GRANTS}g-1/")])
def test_what_is_removed_is_the_rule_or_answer_of_that_id(cli: Cli, hub: SmallHub, id_: str, path: str) -> None:
    hub.routes["DELETE", path] = (204, {})
    assert cli("remove", id_) == Exit.OK
    assert len(hub.asked("DELETE", path)) == 1


REVIEWS = "/api/v1/policy/reviews/"
REVIEW = {
    "level": "project", "project": "web", "agent_name": None, "roles": ["owner"], "reviewer_name": "critic",
    "people_after_seconds": 30, "expires_seconds": None,
}  # fmt: skip


def test_who_answers_is_listed_and_said(cli: Cli, hub: SmallHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.routes["GET", REVIEWS] = (200, {"results": [REVIEW], "next": None})
    assert cli("review", "--project", "web") == Exit.OK
    assert "critic first; people after 30 s; owner" in capsys.readouterr().out
    hub.routes["PUT", REVIEWS] = (200, REVIEW)
    said = ("--roles", "owner,maintainer", "--reviewer", "critic", "--people-after", "30")
    assert cli("review", "--project", "web", *said) == Exit.OK
    assert cli("review", "--project", "web", "--clear") == Exit.OK
    bodies = [seen.body for seen in hub.asked("PUT", REVIEWS)]
    given = {"roles": ["owner", "maintainer"], "reviewer": "critic", "people_after_seconds": 30}
    assert bodies == [{"project": "web", **given}, {"project": "web"}]


def test_a_rule_about_everything_is_said_to_be_one(cli: Cli, hub: SmallHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.routes["POST", RULES] = (201, RULE)
    assert cli("add", "allow") == Exit.USAGE
    assert "--everything" in capsys.readouterr().err
    assert cli("add", "allow", "--everything", "--kind", "read") == Exit.USAGE
    assert not hub.asked("POST", RULES)
    assert cli("add", "ask", "--everything") == Exit.OK
    assert hub.asked("POST", RULES)[0].body == {"verdict": "ask", "is_strict": False}


def test_what_is_not_there_to_be_removed_is_named(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("remove", "x-1") == Exit.REFUSED
    assert "no rule or standing answer 'x-1'" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["list", "grants", "review"])
@pytest.mark.parametrize("option", ["--project", "--agent"])
def test_no_rules_of_what_is_not_there_is_no_answer(
    cli: Cli, hub: SmallHub, capsys: pytest.CaptureFixture[str], word: str, option: str
) -> None:
    nothing: Answer = (200, {"results": [], "next": None})
    hub.routes |= {("GET", path): nothing for path in (GRANTS, REVIEWS, "/api/v1/projects/", "/api/v1/agents/")}
    assert cli(word, option, "wbe") == Exit.REFUSED
    assert "'wbe'" in capsys.readouterr().err
