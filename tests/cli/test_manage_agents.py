"""``agenthub agent``."""

import json
from pathlib import Path
from typing import Any

import pytest

from integrations.cli.exits import Exit

from .conftest import Cli
from .small_hub import SmallHub

PATH = "/api/v1/agents/"
AGENT = {
    "id": "01a1fcc2-cfe0-778a-9bc5-c0a5daeae767", "name": "mender", "project": "1", "project_slug": "web", "node": "2",
    "node_slug": "local", "runs_on": "node:local", "runtime": "acp", "preset": "codex", "model": "",
    "command": ["a b", "c"], "environment": {"KEPT": "1", "GONE": "2"}, "mcp": True,
}  # fmt: skip
ONE = f"{PATH}{AGENT['id']}/"


@pytest.fixture(autouse=True)
def agents(hub: SmallHub) -> None:
    hub.routes["GET", PATH] = (200, {"results": [AGENT], "next": None})
    hub.routes["POST", PATH] = (201, AGENT)
    hub.routes["PATCH", ONE] = (200, AGENT)


def sent(hub: SmallHub, method: str, path: str) -> Any:
    (seen,) = hub.asked(method, path)
    return seen.body


def test_a_new_agent_runs_here_unless_it_is_said_where(
    cli: Cli, hub: SmallHub, capsys: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("agent", "create", "mender", "--project", "web", "--preset", "codex", "--repository", ".") == Exit.OK
    assert sent(hub, "POST", PATH) == {
        "project": "web", "name": "mender", "preset": "codex", "node": "local", "workspace_mode": "create_worktree",
        "worktree_repo": str(tmp_path),
    }  # fmt: skip
    assert "web/mender is made, on node:local. Start it: agenthub run web/mender" in capsys.readouterr().err


def test_paths_on_another_node_are_that_nodes(cli: Cli, hub: SmallHub) -> None:
    words = ("--pool", "gpu", "--label", "arch=arm64", "--directory", "shop", "--command", "make 'all of it'")
    assert cli("agent", "create", "mender", "--project", "web", "--runtime", "command", *words) == Exit.OK
    assert sent(hub, "POST", PATH) == {
        "project": "web", "name": "mender", "runtime": "command", "pool": "gpu", "node_labels": {"arch": "arm64"},
        "command": ["make", "all of it"], "workspace_mode": "use_existing", "workdir": "shop",
    }  # fmt: skip


def test_one_from_elsewhere_has_no_node_and_needs_a_token(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes["POST", PATH] = (201, {**AGENT, "runtime": "external"})
    assert cli("agent", "create", "mender", "--project", "web", "--runtime", "external") == Exit.OK
    assert sent(hub, "POST", PATH) == {"project": "web", "name": "mender", "runtime": "external"}
    assert "agenthub token create NAME --agent web/mender" in capsys.readouterr().err


def test_a_change_leaves_what_it_does_not_name(cli: Cli, hub: SmallHub) -> None:
    words = ("--env", "NEW=a=b", "--unset", "GONE", "--no-mcp", "--wake-on-mail")
    assert cli("agent", "change", "web/mender", *words) == Exit.OK
    changes = {"environment": {"KEPT": "1", "NEW": "a=b"}, "mcp": False, "wake_on_mail": True}
    assert sent(hub, "PATCH", ONE) == changes


def test_what_is_shown_can_be_read_by_people_and_programs(cli: Cli, capsys: Any) -> None:
    assert cli("agent", "show", "mender") == Exit.OK
    told = capsys.readouterr().out
    assert "'a b' c" in told and "KEPT=1 GONE=2" in told and "model" not in told
    assert cli("agent", "show", "mender", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == AGENT


def test_removing_says_what_stays(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    hub.routes["DELETE", ONE] = (204, {})
    assert cli("agent", "remove", "mender") == Exit.OK
    assert hub.asked("DELETE", ONE) and "its runs can still be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("change", "mender"), "Say what changes"),
        (("change", "mender", "--command", "'open"), "--command cannot be read"),
        (("change", "mender", "--env", "=1"), "must be NAME=VALUE"),
        (("create", "x", "--project", "web", "--node", "a", "--pool", "b"), "not allowed with"),
    ],
)
def test_wrong_usage_is_told_and_changes_nothing(
    cli: Cli, hub: SmallHub, capsys: Any, words: tuple[str, ...], told: str
) -> None:
    try:
        code = cli("agent", *words)
    except SystemExit as error:  # as argparse has it
        code = int(error.code or 0)
    assert code == Exit.USAGE and told in capsys.readouterr().err
    assert not hub.asked("POST", PATH) and not hub.asked("PATCH", ONE)


def test_which_agent_is_meant_is_asked(cli: Cli, hub: SmallHub, capsys: Any) -> None:
    assert cli("agent", "remove", "nobody") == Exit.REFUSED
    assert "`agenthub agents` lists them" in capsys.readouterr().err
    other = {**AGENT, "id": "2", "project_slug": "pier"}
    hub.routes["GET", PATH] = (200, {"results": [AGENT, other], "next": None})
    assert cli("agent", "remove", "mender") == Exit.REFUSED
    assert "web/mender, pier/mender" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["nan", "1e400", "soon"])
def test_a_time_that_is_no_number_is_named(cli: Cli, hub: SmallHub, capsys: Any, wrong: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli("agent", "create", "mender", "--project", "demo", "--approval-seconds", wrong)
    assert ended.value.code == 2
    assert "must be a number" in capsys.readouterr().err and not hub.seen
