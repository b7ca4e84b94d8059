"""``agenthub policy test`` by a file, by nothing, and by a hub."""

import json
from pathlib import Path
from typing import Any

import pytest

from integrations.cli import policy
from integrations.cli.exits import Exit
from integrations.cli.where import Where

RULES = [{"id": "no-push", "verdict": "deny", "kind": "publish"}, {"id": "src", "verdict": "allow", "path": "src/**"}]


@pytest.fixture
def where(tmp_path: Path) -> Where:
    return Where(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"levels": [{"name": "project", "rules": RULES}]}))
    return path


def tried(where: Where, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert policy.main(["test", *arguments, "--json"], where) == Exit.OK
    return json.loads(capsys.readouterr().out)


def test_a_file_says_which_rule_decides(where: Where, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = tried(where, capsys, "--file", str(file), "--command", "make && git p''ush")
    assert (told["verdict"], told["kind"], told["level"], told["rule"]) == ("deny", "publish", "project", "no-push")
    assert [(action["verdict"], action["command"]) for action in told["actions"]] == [
        ("deny", "git push"),
        ("ask", "make"),
    ]


def test_a_path_is_tried_in_the_workspace(where: Where, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (where.home / "src").mkdir()
    (where.home / "src" / "out").symlink_to("/etc")
    asked = ("--file", str(file), "--kind", "write", "--workspace", str(where.home), "--path")
    assert tried(where, capsys, *asked, "src/a.py")["rule"] == "src"
    assert tried(where, capsys, *asked, "src/out/hosts")["verdict"] == "ask"


def test_a_pattern_is_looked_up_in_the_workspace_or_asked(
    where: Where, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("private")
    (tmp_path / "readme.md").write_text("hello")
    rules = [{"id": "env", "verdict": "deny", "path": ".env"}]
    file = tmp_path / "no-env.json"
    file.write_text(json.dumps({"levels": [{"name": "project", "rules": rules}]}))
    asked = ("--file", str(file), "--workspace", str(tmp_path), "--command")
    assert tried(where, capsys, *asked, "cat .e*")["rule"] == "env"
    assert tried(where, capsys, *asked, "cat re*")["verdict"] == "allow"
    elsewhere = ("--file", str(file), "--workspace", str(tmp_path / "absent"), "--command")
    assert tried(where, capsys, *elsewhere, "cat .e*")["verdict"] == "ask"
    assert tried(where, capsys, *elsewhere, "cat .env")["verdict"] == "deny"


def test_without_a_policy_it_is_the_one_without_rules(where: Where, capsys: pytest.CaptureFixture[str]) -> None:
    assert tried(where, capsys, "--command", "git status")["verdict"] == "allow"
    assert tried(where, capsys, "--host", "example.com")["actions"][0]["host"] == "example.com"
    assert policy.main(["test", "--command", "make $X"], where) == Exit.OK
    out = capsys.readouterr().out
    assert out.startswith("asked: shell, by default\n")
    assert "not understood" in out


@pytest.mark.parametrize("arguments", [[], ["--file", "/nowhere", "--path", "a"], ["--file", __file__, "--path", "a"]])
def test_what_makes_no_sense_is_said(where: Where, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert policy.main(["test", *arguments], where) == Exit.USAGE
    assert capsys.readouterr().err.startswith("agenthub: ")


def test_an_agents_policy_is_the_hubs_to_say(
    where: Where, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, Any]] = []
    answer = {"verdict": "ask", "kind": "shell", "level": "", "rule": "", "grant": "", "actions": []}

    def post(_: object, path: str, body: Any) -> Any:
        sent.append((path, body))
        return answer

    monkeypatch.setattr("integrations.cli.client.Client.post", post)
    assert tried(where, capsys, "--agent", "demo", "--command", "make") == answer
    assert sent == [("/api/v1/policy/test/", {"agent": "demo", "command": "make"})]
