"""``hubctl`` against a small hub: what it asks, what it says, and with which exit code."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agenthub_site.hubctl_serve import BadFiles, Files, OldDatabase, listen_address
from agents.coordination.models import Limits
from integrations.cli.agents_env import BadFile, read_agents_env, why_exposed
from integrations.cli.client import Client
from integrations.cli.hubctl import hub_of, main, serve_home
from integrations.cli.limits_file import DEFAULTS, LIMITS, read_limits
from integrations.cli.old_hub import read_old_hub
from integrations.cli.where import Where, find_where
from tests.fakes.old_hub import FakeOldHub

from .small_hub import SmallHub

REVOKE = "/api/v1/agents/revoke-unlisted/"
TASKS, ROUNDS, IMPORT, PROJECTS = "/api/v1/tasks/", "/api/v1/rounds/", "/api/v1/agents/import/", "/api/v1/projects/"
OWN_LIMITS = f"{PROJECTS}agent-hub/limits/"
ID = "0199a1b2-0000-7000-8000-000000000007"
TASK = {"id": ID, "key": "T-1", "title": "Mend the nets", "state": "draft", "project_slug": "web"}
ROUND: dict[str, Any] = {
    "id": ID, "task": ID, "task_key": "T-1", "project_slug": "web", "number": 2, "state": "dispatched",
    "decided_by": "bob", "operator_note": "Go.", "review": None,
    "assignments": [{"id": ID, "state": "pending", "agent": None, "goal": "Mend"}],
}  # fmt: skip
Cli = Callable[..., int]
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def page(*items: object) -> tuple[int, object]:
    return 200, {"results": list(items), "next": None, "previous": None}


@pytest.fixture
def cli(home: Path) -> Cli:
    """Run ``agenthub hubctl …`` against the home's hub; returns the exit code."""
    return lambda _hubctl, *arguments: main(arguments, Where(home, environ={"AGENTHUB_HOME": str(home)}))


@pytest.fixture
def with_tasks(hub: SmallHub) -> SmallHub:
    hub.routes["GET", TASKS] = page(TASK)
    hub.routes["GET", ROUNDS] = page(ROUND, {**ROUND, "number": 1, "state": "rejected"})
    hub.routes["GET", f"{ROUNDS}{ID}/"] = (200, ROUND)
    hub.routes["POST", f"{ROUNDS}{ID}/approve/"] = (200, ROUND)
    hub.routes["POST", f"{ROUNDS}{ID}/reject/"] = (200, {**ROUND, "state": "rejected"})
    hub.routes["POST", f"{TASKS}{ID}/close/"] = (200, {**TASK, "state": "closed"})
    return hub


def test_approve_takes_the_note_as_it_is_typed(
    with_tasks: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("hubctl", "approve", ID, "Go", "ahead") == 0
    assert with_tasks.asked("POST", f"{ROUNDS}{ID}/approve/")[0].body == {"note": "Go ahead"}
    assert capsys.readouterr().out == f"Round {ID}: APPROVED → dispatched\n"


def test_reject_says_that_it_is_planned_again(
    with_tasks: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("hubctl", "reject", ID, "--json") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "rejected"


def test_reject_says_which_round_opened_again_by_itself(
    with_tasks: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    with_tasks.routes["GET", ROUNDS] = page({**ROUND, "id": "again", "number": 3, "is_repeat": True})
    assert cli("hubctl", "reject", ID) == 0
    assert capsys.readouterr().out == f"Round {ID}: REJECTED → opened again by itself: round#3  again\n"
    assert cli("hubctl", "reject", ID, "--json") == 0
    assert json.loads(capsys.readouterr().out)["next_round"] == "again"


def test_a_note_is_not_called_for(hub: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli("hubctl", "approve")
    assert "required: round." in capsys.readouterr().err


def test_a_project_that_there_is_not_is_said_to_be_none(
    with_tasks: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    with_tasks.routes["GET", PROJECTS] = page({"slug": "web", "id": ID})
    for command in ("list-tasks", "list-rounds"):
        assert cli("hubctl", command, "--project", "nope") == 4
        assert "no project 'nope'" in capsys.readouterr().err
        assert cli("hubctl", command, "--project", "web") == cli("hubctl", command, "--project", ID) == 0


def test_status_as_json_has_the_field_status(
    with_tasks: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("hubctl", "status", ID, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["round_number"], told["task_id"]) == ("dispatched", 2, "T-1")
    assert cli("hubctl", "status", ID) == 0
    said = capsys.readouterr().out
    assert "dispatched" in said and "bob: Go." in said and "anyone" in said


def test_close_finds_the_task_by_its_own_id(with_tasks: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("hubctl", "close", "T-1") == 0
    assert with_tasks.asked("GET", TASKS)[0].query["key"] == ["T-1"]
    assert capsys.readouterr().out == "Task T-1: CLOSED\n"


def test_a_task_is_given_to_another_dispatcher(
    with_tasks: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    door = f"{TASKS}{ID}/hand/"
    with_tasks.routes["POST", door] = (200, {"key": "T-1", "state": "draft", "dispatcher": "wim"})
    assert cli("hubctl", "hand", "T-1", "wim") == 0
    assert with_tasks.asked("POST", door)[0].body == {"dispatcher": "wim"}
    assert capsys.readouterr().out == "Task T-1: wim plans and reviews it now\n"


def test_lists_look_as_they_did(with_tasks: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("hubctl", "list-tasks") == 0
    assert capsys.readouterr().out == "  [draft] T-1  Mend the nets\n"
    assert cli("hubctl", "list-rounds", "T-1") == 0
    assert capsys.readouterr().out == f"  [rejected] round#1  {ID}  T-1\n  [dispatched] round#2  {ID}  T-1\n"


def test_a_list_of_nothing_says_so(hub: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (TASKS, ROUNDS):
        hub.routes["GET", path] = (200, {"results": [], "next": None})
    for word, said in (("list-tasks", "No tasks that fit"), ("list-rounds", "No rounds that fit")):
        assert cli("hubctl", word) == 0
        assert said in capsys.readouterr().err


def test_what_does_not_exist_ends_with_4_and_says_where_to_look(
    with_tasks: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    """It used to end with 0, or with a traceback."""
    with_tasks.routes["GET", TASKS] = page()
    for arguments in (("close", "T-9"), ("approve", "nonsense"), ("status", "nonsense")):
        assert cli("hubctl", *arguments) == 4
        assert "hubctl list-" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("approve",), ("destroy", "x"), ("approve", ID, "--loudly")])
def test_wrong_usage_ends_with_2(hub: SmallHub, cli: Cli, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli("hubctl", *arguments)
    assert ended.value.code == 2


def write_own(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


def test_agents_are_imported_into_the_only_project(
    hub: SmallHub, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agents.env"
    write_own(file, "# mine\nclaude-code='secret-one'\n\ncodex=secret=two\n")
    hub.routes["GET", PROJECTS] = page({"slug": "web"})
    hub.routes["POST", IMPORT] = (200, [{"name": "codex", "is_new": True, "token": "new"}])
    assert cli("hubctl", "import-agents", str(file)) == 0
    assert hub.asked("POST", IMPORT)[0].body == {
        "project": "web",
        "agents": [{"name": "claude-code", "token": "secret-one"}, {"name": "codex", "token": "secret=two"}],
    }
    assert "secret" not in capsys.readouterr().out
    hub.routes["GET", PROJECTS] = page({"slug": "web"}, {"slug": "docs"})
    assert cli("hubctl", "import-agents", str(file)) == 2
    assert cli("hubctl", "import-agents", str(tmp_path / "none")) == 2


def test_agents_env_may_have_comments_behind_tokens_and_lines_of_a_shell(tmp_path: Path) -> None:
    file = tmp_path / "agents.env"
    lines = [
        "ada=one # the planner", "export wim=two", "export  zoe = 'three' # quoted", 'eve="fo#ur # of it"', "max=a#b",
        "exporter=five\t# tab",
    ]  # fmt: skip
    write_own(file, "\n".join(lines))
    assert read_agents_env(file) == {
        "ada": "one", "wim": "two", "zoe": "three", "eve": "fo#ur # of it", "max": "a#b", "exporter": "five",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "# none\n", "codex\n", "codex=\n", "codex= # none\n", "bad name=token-1\n", "a=x\na=y\n"]
)
def test_a_bad_agents_env_is_refused_without_telling_tokens(tmp_path: Path, text: str) -> None:
    file = tmp_path / "agents.env"
    write_own(file, text)
    with pytest.raises(BadFile) as refused:
        read_agents_env(file)
    assert "token-1" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["max_round: 3", "max_rounds: many", "max_rounds: true", "auto_approve: 1", "lease_minutes: x", "- 1", "a: ["],
)
def test_a_bad_config_yaml_is_refused_by_the_name_of_the_key(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(BadFile):
        read_limits(file)


def test_the_defaults_of_the_file_are_the_hubs() -> None:
    assert {name: getattr(Limits(), name) for name in LIMITS} == DEFAULTS


def test_the_examples_are_valid(tmp_path: Path) -> None:
    """B3: its example for clients was no JSON."""
    write_own(tmp_path / "config.yaml", (EXAMPLES / "config.yaml.example").read_text())
    assert set(read_limits(tmp_path / "config.yaml")) == set(LIMITS)
    write_own(tmp_path / "agents.env", (EXAMPLES / "agents.env.example").read_text())
    assert read_agents_env(tmp_path / "agents.env").keys() == {"claude-code", "codex-desktop"}
    told = json.loads((EXAMPLES / "mcp.json.example").read_text())
    (server,) = told["mcpServers"].values()
    assert server["type"] in ("http", "streamable-http") and server["url"].endswith("/mcp")
    assert server["headers"]["Authorization"].startswith("Bearer ")


def test_the_real_files_are_never_committed() -> None:
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().split()
    assert {"agents.env", ".mcp.json", "config.yaml"} <= set(ignored)


def test_the_files_are_told_to_the_hub_again_when_they_change(hub: SmallHub, home: Path, tmp_path: Path) -> None:
    agents, limits = tmp_path / "agents.env", tmp_path / "config.yaml"
    files, client = Files(agents, limits, "agent-hub"), Client.over_socket(home / "hub.sock")
    write_own(agents, "codex=secret-one\n")
    limits.write_text("max_rounds: 5\n")
    hub.routes["GET", PROJECTS] = page()
    hub.routes["POST", PROJECTS] = (201, {})
    hub.routes["POST", IMPORT] = (200, [])
    hub.routes["PATCH", OWN_LIMITS] = (200, {})
    files.apply(client)
    files.apply(client)
    assert [len(hub.asked(*door)) for door in (("POST", IMPORT), ("PATCH", OWN_LIMITS))] == [1, 1]
    assert hub.asked("PATCH", OWN_LIMITS)[0].body == {"max_rounds": 5}
    os.utime(agents, (1, 1))
    files.apply(client)
    assert [len(hub.asked(*door)) for door in (("POST", IMPORT), ("PATCH", OWN_LIMITS))] == [2, 1]
    write_own(agents, "codex\n")
    with pytest.raises(BadFiles):
        files.read()


def test_who_is_not_in_the_file_any_more_is_revoked_once_it_is_at_rest(
    hub: SmallHub, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agents = tmp_path / "agents.env"
    files, client = Files(agents, tmp_path / "config.yaml", "agent-hub"), Client.over_socket(home / "hub.sock")
    hub.routes["GET", PROJECTS] = page({"slug": "agent-hub"})
    hub.routes["POST", IMPORT] = (200, [])
    hub.routes["POST", REVOKE] = (200, {"revoked": ["codex"]})
    for _ in range(3):
        files.apply(client)  # no file says nothing
    write_own(agents, "ada=secret-of-ada\n")
    files.apply(client)
    assert hub.asked("POST", REVOKE) == []
    for _ in range(3):
        files.apply(client)
    (asked,) = hub.asked("POST", REVOKE)
    assert asked.body == {"project": "agent-hub", "agents": [{"name": "ada", "token": "secret-of-ada"}]}
    assert "were revoked: codex" in capsys.readouterr().err
    write_own(agents, "# nobody\n")
    os.utime(agents, (1, 1))
    assert files.read()[0] == {}
    for _ in range(3):
        files.apply(client)
    assert [asked.body["agents"] for asked in hub.asked("POST", REVOKE)[1:]] == [[]]
    assert "is empty: nobody may come any more" in capsys.readouterr().err


def test_what_the_hub_could_not_be_told_it_is_told_later(
    hub: SmallHub, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agents, limits = tmp_path / "agents.env", tmp_path / "config.yaml"
    files = Files(agents, limits, "agent-hub")
    write_own(agents, "codex=secret-one\n")
    files.apply(Client.over_socket(tmp_path / "nobody.sock"))
    assert "tried again" in capsys.readouterr().err
    hub.routes["GET", PROJECTS] = page({"slug": "agent-hub"})
    hub.routes["POST", IMPORT] = (200, [])
    hub.routes["PATCH", OWN_LIMITS] = (200, {})
    files.apply(Client.over_socket(home / "hub.sock"))
    assert len(hub.asked("POST", IMPORT)) == 1
    write_own(agents, "codex\n")  # one bad file is no hindrance to the other, and one that went is no end
    limits.write_text("max_rounds: 6\n")
    files.apply(Client.over_socket(home / "hub.sock"))
    assert len(hub.asked("PATCH", OWN_LIMITS)) == 1 and "line 1" in capsys.readouterr().err
    agents.unlink()
    limits.unlink()
    limits.symlink_to(limits)
    files.apply(Client.over_socket(home / "hub.sock"))
    assert len(hub.asked("PATCH", OWN_LIMITS)) == 1


def test_a_limit_that_the_file_no_longer_says_is_at_its_default_again(
    hub: SmallHub, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits, client = tmp_path / "config.yaml", Client.over_socket(home / "hub.sock")
    hub.routes["GET", PROJECTS] = page({"slug": "agent-hub"})
    hub.routes["PATCH", OWN_LIMITS] = (200, {})

    def started() -> Files:
        files = Files(tmp_path / "agents.env", limits, "agent-hub")
        files.keep_note(tmp_path / "said.json")
        return files

    started().apply(client)
    limits.write_text("auto_approve: true\nmax_rounds: 5\n")
    files = started()
    files.apply(client)
    limits.write_text("max_rounds: 5\n")
    os.utime(limits, (1, 1))
    files.apply(client)
    limits.unlink()
    files.apply(client)
    assert len(hub.asked("PATCH", OWN_LIMITS)) == 2
    started().apply(client)
    started().apply(client)
    assert [asked.body for asked in hub.asked("PATCH", OWN_LIMITS)] == [
        {"auto_approve": True, "max_rounds": 5}, {"auto_approve": False, "max_rounds": 5}, {"max_rounds": 3},
    ]  # fmt: skip
    assert "no longer says them: auto_approve" in capsys.readouterr().err


def test_a_limit_that_the_hub_refuses_is_named(
    hub: SmallHub, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = tmp_path / "config.yaml"
    limits.write_text("max_rounds: -1\n")
    hub.routes["GET", PROJECTS] = page({"slug": "agent-hub"})
    error = {"code": "invalid", "message": "It must be 1.", "data": {"fields": {"max_rounds": ["It must be 1."]}}}
    hub.routes["PATCH", OWN_LIMITS] = (400, {"error": error})
    Files(tmp_path / "agents.env", limits, "agent-hub").apply(Client.over_socket(home / "hub.sock"))
    assert "max_rounds: It must be 1." in capsys.readouterr().err


def test_files_that_others_can_change_are_refused(tmp_path: Path) -> None:
    agents, limits = tmp_path / "agents.env", tmp_path / "config.yaml"
    agents.write_text("codex=secret-one\n")
    limits.write_text("max_rounds: 5\n")
    for path in (agents, limits):
        path.chmod(0o600)
    assert read_agents_env(agents) == {"codex": "secret-one"} and read_limits(limits) == {"max_rounds": 5}
    for path, read in ((agents, read_agents_env), (limits, read_limits)):
        path.chmod(0o602)
        with pytest.raises(BadFile, match="chmod go-w"):
            read(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another group")
@pytest.mark.parametrize(("mode", "is_fine", "is_exposed"), [(0o660, False, True), (0o640, True, True)])
def test_a_group_is_others_unless_it_is_the_owners_own(
    tmp_path: Path, mode: int, *, is_fine: bool, is_exposed: bool
) -> None:
    agents = tmp_path / "agents.env"
    agents.write_text("codex=secret-one\n")
    agents.chmod(mode)
    assert read_agents_env(agents) and not why_exposed(agents)
    os.chown(agents, -1, 100)
    assert bool(why_exposed(agents)) is is_exposed
    if is_fine:
        assert read_agents_env(agents)
        return
    with pytest.raises(BadFile, match="chmod go-w"):
        read_agents_env(agents)


def test_tokens_that_others_can_read_work_as_before_with_a_warning(
    hub: SmallHub, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agents = tmp_path / "agents.env"
    agents.write_text("codex=secret-one-0123456789\n")
    agents.chmod(0o644)
    hub.routes["GET", PROJECTS] = page({"slug": "agent-hub"})
    hub.routes["POST", "/api/v1/agents/import/"] = (200, [{"name": "codex", "is_new": True, "token": "new"}])
    Files(agents, tmp_path / "config.yaml", "agent-hub").apply(Client.over_socket(home / "hub.sock"))
    told = capsys.readouterr().err
    assert "others on this machine can read it. Do: chmod 600" in told and "1 agents of the project" in told


def test_an_old_database_is_read_without_touching_it(tmp_path: Path) -> None:
    old = FakeOldHub(tmp_path / "hub.db")
    with closing(sqlite3.connect(old.path)) as writing:  # as its server leaves it when it is killed
        writing.execute("PRAGMA journal_mode = wal")
        writing.execute("SELECT 1 FROM root_tasks").fetchall()
        old.task("T-1", "draft")
        kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert "hub.db-wal" in kept
        assert [task["id"] for task in read_old_hub(old.path, datetime.now(UTC)).tasks] == ["T-1"]
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def damaged(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * 4096 + whole[8192:])


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def another_programs(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE agents (id, name)")


def no_database(path: Path) -> None:
    path.write_text("not a database, but long enough to be looked at by sqlite" * 10)


def of_another_state(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE root_tasks SET status = 'resting'")


@pytest.mark.parametrize("spoil", [damaged, cut_off, another_programs, no_database, of_another_state])
def test_a_wrong_or_damaged_database_stops_the_start_and_stays(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    hub = FakeOldHub(tmp_path / "hub.db")
    hub.task("T-1", "draft")
    spoil(hub.path)
    before = hub.path.read_bytes()
    old = OldDatabase(hub.path, "agent-hub", tmp_path)
    assert old.is_new
    with pytest.raises(BadFiles, match="--leave-old-tasks") as refused:
        old.check()
    assert "hub.db" in str(refused.value) and hub.path.read_bytes() == before


def test_hubctl_talks_to_the_hub_that_it_serves_unless_told_otherwise(tmp_path: Path) -> None:
    old = {"AGENT_HUB_DB": str(tmp_path / "hub.db")}
    home = serve_home(old)
    assert home == tmp_path / "hub-agenthub"
    assert hub_of(find_where(None, old)).home == home
    named = {**old, "AGENTHUB_HOME": str(tmp_path / "mine")}
    assert hub_of(find_where(None, named)).home == tmp_path / "mine"
    there = {**old, "AGENTHUB_URL": "https://hub.example.com", "AGENTHUB_TOKEN": "x"}
    assert hub_of(find_where(None, there)).url == "https://hub.example.com"


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "127.0.0.1:8765"),
        ({"AGENT_HUB_PORT": "9000"}, "127.0.0.1:9000"),
        ({"AGENT_HUB_HOST": "::1", "AGENT_HUB_PORT": ""}, "[::1]:8765"),
        ({"AGENT_HUB_PORT": "9000", "AGENTHUB_SERVER__LISTEN": "127.0.0.1:0"}, "127.0.0.1:0"),
    ],
)
def test_it_listens_where_the_package_did_unless_told_otherwise(environ: dict[str, str], address: str) -> None:
    """B2: its variables were documented and not read, and it had no `serve`."""
    assert listen_address(environ) == address


@pytest.mark.parametrize("port", ["abc", "99999", "-1", "²"])
def test_a_port_that_is_none_is_refused_by_its_variables_name(port: str) -> None:
    with pytest.raises(BadFiles, match="AGENT_HUB_PORT"):
        listen_address({"AGENT_HUB_PORT": port})
