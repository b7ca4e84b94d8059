"""Requests: where to, what is sent, what an answer that never comes means."""

import json
import os
import socket
from pathlib import Path

import pytest

from integrations.cli.client import Client, HubRefused
from integrations.cli.commands import main
from integrations.cli.exits import Exit
from integrations.cli.where import find_where

from .conftest import Cli
from .small_hub import RUN, SmallHub, serve

Capture = pytest.CaptureFixture[str]


def test_without_a_hub_it_says_how_to_start_one(cli: Cli, capsys: Capture) -> None:
    assert cli("runs") == Exit.UNREACHABLE
    assert "agenthub up" in capsys.readouterr().err


def test_in_a_nodes_home_it_says_where_the_hub_is(cli: Cli, home: Path, capsys: Capture) -> None:
    (home / "node").mkdir()
    (home / "node/hub.json").write_text('{"url": "https://hub.example.com", "addresses": [], "slug": "gpu-01"}')
    assert cli("runs") == Exit.UNREACHABLE
    told = capsys.readouterr().err
    assert "AGENTHUB_URL=https://hub.example.com" in told and "agenthub up" not in told


def test_with_json_an_error_has_the_shape_of_the_api(cli: Cli, capsys: Capture) -> None:
    assert cli("runs", "--json") == Exit.UNREACHABLE
    assert '"code": "hub_unreachable"' in capsys.readouterr().out


def test_a_refusal_is_one_line_and_its_code(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    error = {"error": {"code": "forbidden", "message": "Your role does not allow that.", "data": {}}}
    hub.routes["GET", "/api/v1/runs/"] = (403, error)
    assert cli("runs") == Exit.REFUSED
    assert capsys.readouterr().err == "agenthub: Your role does not allow that.\n"


def test_a_token_goes_to_the_hub_that_the_environment_names(home: Path) -> None:
    hub = SmallHub(routes={("GET", "/api/v1/runs/"): (200, {"results": [], "next": None})})
    with serve(hub) as url:
        where = find_where(environ={"AGENTHUB_HOME": str(home), "AGENTHUB_URL": url + "/", "AGENTHUB_TOKEN": "aht_x"})
        assert list(Client.of(where).every("/api/v1/runs/")) == []
    assert hub.seen[0].headers["Authorization"] == "Bearer aht_x"


def test_a_cut_answer_is_asked_for_again_under_the_same_key(home: Path, hub: SmallHub) -> None:
    hub.routes["POST", "/api/v1/runs/"] = (201, {"id": "r"})
    hub.drop_answers = 2
    assert Client.over_socket(home / "hub.sock").post("/api/v1/runs/", {"agent": "demo"}) == {"id": "r"}
    keys = [seen.headers["Idempotency-Key"] for seen in hub.asked("POST", "/api/v1/runs/")]
    assert len(keys) == 3 and len(set(keys)) == 1


def test_a_socket_under_a_long_path_is_reached(home: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    hub = SmallHub(routes={("GET", "/healthz"): (200, {"status": "ok"})})
    before = Path.cwd()
    with serve(hub, home / "s"):
        os.link(home / "s", deep / "hub.sock")
        assert Client.over_socket(deep / "hub.sock").get("/healthz") == {"status": "ok"}
    assert Path.cwd() == before


def test_a_list_is_read_page_by_page(home: Path, hub: SmallHub) -> None:
    pages = {
        "": {"results": [{"id": "1"}], "next": "http://agenthub.local/api/v1/runs/?cursor=b"},
        "b": {"results": [{"id": "2"}], "next": None},
    }
    hub.routes["GET", "/api/v1/runs/"] = lambda seen: (200, pages[seen.query.get("cursor", [""])[0]])
    client = Client.over_socket(home / "hub.sock")
    assert [run["id"] for run in client.every("/api/v1/runs/", state=["running", "waiting"])] == ["1", "2"]
    assert hub.seen[0].query["state"] == ["running", "waiting"]


def test_an_answer_that_is_no_json_is_still_a_refusal(home: Path, hub: SmallHub) -> None:
    hub.routes["GET", "/x"] = (502, "Bad gateway")
    with pytest.raises(HubRefused) as refused:
        Client.over_socket(home / "hub.sock").get("/x")
    assert refused.value.code == "http_502"


@pytest.mark.parametrize("url", ["foo", "hub.example.com", "http://", "http://127.0.0.1:x", "ftp://hub", "http://[::1"])
def test_an_address_that_is_none_is_explained(home: Path, url: str, capsys: Capture) -> None:
    where = find_where(environ={"AGENTHUB_HOME": str(home), "AGENTHUB_URL": url})
    assert main("runs", [], where) == Exit.USAGE
    assert "AGENTHUB_URL must be an address such as https://" in capsys.readouterr().err


def test_an_address_where_nobody_speaks_https_is_explained(
    home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.cli.client.CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        where = find_where(environ={"AGENTHUB_HOME": str(home), "AGENTHUB_URL": url})
        assert main("runs", [], where) == Exit.UNREACHABLE
    assert "does not speak HTTPS" in capsys.readouterr().err


def test_a_hub_that_asks_for_a_token_says_where_it_comes_from(home: Path, capsys: Capture) -> None:
    error = {"error": {"code": "unauthenticated", "message": "Sign in.", "data": {}}}
    with serve(SmallHub(routes={("GET", "/api/v1/runs/"): (401, error)})) as url:
        where = find_where(environ={"AGENTHUB_HOME": str(home), "AGENTHUB_URL": url})
        assert main("runs", [], where) == Exit.REFUSED
    assert "AGENTHUB_TOKEN is not set" in capsys.readouterr().err


def test_what_is_wrong_with_each_field_is_told(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    data = {"fields": {"state": ["No such state."], "options": {"a": ["Too long."]}}}
    error = {"error": {"code": "invalid", "message": "The request does not fit.", "data": data}}
    hub.routes["GET", "/api/v1/runs/"] = (400, error)
    assert cli("runs", "--state", "x") == Exit.REFUSED
    told = capsys.readouterr().err.splitlines()
    assert told[1:] == ["  state: No such state.", "  options: a: Too long."]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["runs", "--limit", "0"], "--limit: must be a whole number from 1, got '0'"),
        (["token", "create", "x", "--days", "99999999"], "--days: must be a whole number from 1 to 36500"),
        (["logs", "last", "--after", "-1"], "--after"),
        (["cancel"], "run"),
    ],
)
def test_wrong_usage_with_json_is_one_object(cli: Cli, capsys: Capture, command: list[str], told: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli(*command, "--json")
    shown = capsys.readouterr()
    error = json.loads(shown.out)["error"]
    assert ended.value.code == Exit.USAGE and shown.err == ""
    assert error["code"] == "usage" and told in error["message"]


def test_an_agent_that_is_not_there_has_no_runs_to_list(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    hub.routes["GET", "/api/v1/runs/"] = (200, {"results": [], "next": None})
    hub.routes["GET", "/api/v1/agents/"] = (200, {"results": [{"id": "1", "name": "demo"}], "next": None})
    assert cli("runs", "--agent", "demo") == Exit.OK
    assert cli("runs", "--agent", "nobody", "--json") == Exit.REFUSED
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"]["code"] == "not_found"


def test_an_unknown_run_is_not_found(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    hub.routes["GET", "/api/v1/runs/"] = (200, {"results": [], "next": None})
    assert cli("logs", "abc", "--json") == Exit.REFUSED
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not_found"


def test_a_run_that_is_over_has_nothing_to_cancel(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    error = {"error": {"code": "wrong_state", "message": "It cannot become stopping.", "data": {}}}
    hub.routes["POST", f"/api/v1/runs/{RUN}/cancel/"] = (409, error)
    hub.routes["GET", f"/api/v1/runs/{RUN}/"] = (200, {"state": "succeeded"})
    assert cli("cancel", RUN) == Exit.REFUSED
    assert "is over already (succeeded): there is nothing to cancel" in capsys.readouterr().err


def test_a_runtime_that_is_not_installed_comes_with_its_install_line(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    error = {"error": {"code": "not_found", "message": "There is no agent 'codex'.", "data": {}}}
    hub.routes["POST", "/api/v1/runs/"] = (404, error)
    assert cli("run", "codex", "Say hello") == Exit.REFUSED
    assert "npm install -g" in capsys.readouterr().err


def test_a_prompt_longer_than_a_hub_takes_is_not_sent(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    assert cli("run", "demo", "x" * 3_000_000) == Exit.REFUSED
    assert "a hub takes 1 MiB at most" in capsys.readouterr().err and not hub.seen


def test_the_home_may_stand_in_the_file_and_the_environment_wins(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('home = "/srv/hub"\n[server]\nlisten = "127.0.0.1:9000"\n')
    assert find_where(str(config), {}).home == Path("/srv/hub")
    assert find_where(str(config), {"AGENTHUB_HOME": "/other"}).home == Path("/other")
    assert find_where(str(config), {"AGENTHUB_SERVER__LISTEN": "[::1]:1"}).server("listen") == "[::1]:1"


@pytest.mark.parametrize("token", ["aht_x\n", "aht_ x", "aht_\u00e9"])
def test_a_token_that_is_none_is_explained(home: Path, token: str, capsys: Capture) -> None:
    environ = {"AGENTHUB_HOME": str(home), "AGENTHUB_URL": "http://127.0.0.1:1", "AGENTHUB_TOKEN": token}
    assert main("runs", [], find_where(environ=environ)) == Exit.USAGE
    assert "AGENTHUB_TOKEN is not a token" in capsys.readouterr().err


def test_a_field_that_the_message_names_is_not_said_twice(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    fields = {"node": ["It needs no route."], "role": ["There is none."]}
    error = {"code": "invalid", "message": "It does not fit. node: It needs no route.", "data": {"fields": fields}}
    hub.routes["GET", "/api/v1/runs/"] = (400, {"error": error})
    assert cli("runs") == Exit.REFUSED
    assert capsys.readouterr().err.splitlines()[1:] == ["  role: There is none."]


def test_no_run_that_is_open_is_not_no_run_at_all(cli: Cli, hub: SmallHub, capsys: Capture) -> None:
    hub.routes["GET", "/api/v1/runs/"] = (200, {"results": [], "next": None})
    assert cli("runs", "--open") == Exit.OK
    assert "Start one" not in capsys.readouterr().err


def test_a_reader_of_our_output_that_leaves_is_no_hub_that_does_not_answer(home: Path, hub: SmallHub) -> None:
    client = Client.over_socket(home / "hub.sock")
    with pytest.raises(BrokenPipeError), client.stream(f"/api/v1/runs/{RUN}/events/stream", {}, 5.0):
        raise BrokenPipeError


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket")
def test_a_socket_of_another_account_is_said_to_be_one(cli: Cli, home: Path, hub: SmallHub, capsys: Capture) -> None:
    (home / "hub.sock").chmod(0)
    assert cli("runs") == Exit.UNREACHABLE
    assert "for the account alone that started it" in capsys.readouterr().err
