"""``agenthub user``, ``project`` and ``token create``: what scripts set a hub up with."""

import io
import json
from pathlib import Path

import pytest

from .conftest import Cli
from .small_hub import SmallHub

USERS, PROJECTS = "/api/v1/users/", "/api/v1/projects/"
PROJECT = {"id": "0199a1b2-0000-7000-8000-000000000001", "slug": "web", "name": "Web", "role": "owner"}
ALICE = {
    "id": "0199a1b2-0000-7000-8000-000000000002", "username": "alice", "email": "", "is_active": True,
    "is_root": False, "service_of": None,
}  # fmt: skip


def page(*items: object) -> tuple[int, object]:
    return 200, {"results": list(items), "next": None, "previous": None}


@pytest.fixture
def hub_with_all(hub: SmallHub) -> SmallHub:
    hub.routes["GET", USERS] = page(ALICE)
    hub.routes["POST", USERS] = (201, ALICE)
    hub.routes["GET", PROJECTS] = page(PROJECT)
    hub.routes["POST", "/api/v1/tokens/"] = (201, {"token": "aht_x"})
    return hub


def test_a_user_is_created_for_a_script(hub_with_all: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("user", "create", "alice", "--password", "correct horse", "--email", "a@example.org", "--json") == 0
    assert json.loads(capsys.readouterr().out)["username"] == "alice"
    body = hub_with_all.asked("POST", USERS)[0].body
    assert body == {"username": "alice", "email": "a@example.org", "password": "correct horse"}


def test_a_password_comes_from_a_file(hub_with_all: SmallHub, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    assert cli("user", "create", "alice", "--password-file", str(file), "--json") == 0
    assert hub_with_all.asked("POST", USERS)[0].body["password"] == "correct horse"


def test_a_service_account_is_made_in_its_project(hub_with_all: SmallHub, cli: Cli) -> None:
    hub_with_all.routes["POST", f"{PROJECTS}web/service-accounts/"] = (201, {})
    assert cli("user", "create", "nightly", "--service", "--project", "web", "--json") == 0
    made = hub_with_all.asked("POST", f"{PROJECTS}web/service-accounts/")[0].body
    assert made == {"name": "nightly", "role": "developer"}
    assert cli("user", "create", "nightly", "--service", "--json") == 2
    assert cli("user", "create", "nightly", "--service", "--project", "web", "--password", "x", "--json") == 2


def test_a_project_demands_isolation_and_no_network(
    hub_with_all: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"{PROJECTS}{PROJECT['id']}/"
    demands = {"required_isolation": "masked", "required_network": "none"}
    hub_with_all.routes["PATCH", where] = (200, {**PROJECT, **demands})
    assert cli("project", "edit", "web", "--isolation", "masked", "--network", "none") == 0
    assert hub_with_all.asked("PATCH", where)[0].body == demands
    assert "isolation masked, network none" in capsys.readouterr().err
    assert cli("project", "edit", "web") == 2


def test_somebody_is_deactivated(hub_with_all: SmallHub, cli: Cli) -> None:
    hub_with_all.routes["PATCH", f"{USERS}{ALICE['id']}/"] = (200, {**ALICE, "is_active": False})
    assert cli("user", "deactivate", "alice") == 0
    assert hub_with_all.asked("PATCH", f"{USERS}{ALICE['id']}/")[0].body == {"is_active": False}
    assert cli("user", "deactivate", "nobody", "--json") == 4


def test_a_token_has_a_scope_a_time_and_a_project(hub_with_all: SmallHub, cli: Cli) -> None:
    given = ("--user", "alice", "--scope", "run", "--expires-in", "12h", "--project", "web", "--json")
    assert cli("token", "create", "ci", *given) == 0
    body = hub_with_all.asked("POST", "/api/v1/tokens/")[0].body
    assert (body["user"], body["scope"], body["project"]) == ("alice", "run", "web") and body["expires_at"]


def test_a_token_speaks_for_an_agent(hub_with_all: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": f"0199a1b2-0000-7000-8000-00000000000{n}", "name": "mender", "project_slug": f"p{n}"} for n in (3, 4)
    ]
    hub_with_all.routes["GET", "/api/v1/agents/"] = page(*rows)
    tokens = f"/api/v1/agents/{rows[1]['id']}/tokens/"
    hub_with_all.routes["POST", tokens] = (201, {"token": "aht_agent"})
    token = {
        "id": "0199a1b2-0000-7000-8000-0000000000ff",
        "name": "mcp",
        "user": None,
        "hint": "aht_01",
        "scope": "all",
    }
    hub_with_all.routes["GET", tokens] = page(token)
    hub_with_all.routes["DELETE", f"/api/v1/tokens/{token['id']}/"] = (204, None)
    assert cli("token", "create", "mcp", "--agent", "p4/mender") == 0
    assert "aht_agent" in capsys.readouterr().out
    assert hub_with_all.asked("POST", tokens)[0].body == {"name": "mcp"}
    assert cli("token", "list", "--agent", "p4/mender") == 0 and "p4/mender" in capsys.readouterr().out
    assert cli("token", "revoke", "mcp", "--agent", "p4/mender") == 0
    assert cli("token", "create", "mcp", "--agent", "mender", "--json") == 4  # of which project?
    assert cli("token", "create", "mcp", "--agent", "p4/mender", "--user", "alice", "--json") == 2


@pytest.mark.parametrize("wrong", ["12", "h", "-1h", "9x", "99999d"])
def test_a_time_that_is_none_is_refused(cli: Cli, wrong: str) -> None:
    with pytest.raises(SystemExit):
        cli("token", "create", "ci", "--expires-in", wrong, "--json")


def test_somebody_is_invited(hub_with_all: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    made = {"path": "/invitations/abc/", "url": "https://hub.example.org/invitations/abc/"}
    hub_with_all.routes["POST", f"{PROJECTS}{PROJECT['id']}/invitations/"] = (201, made)
    assert cli("project", "invite", "web", "--role", "reviewer") == 0
    assert capsys.readouterr().out.strip() == "https://hub.example.org/invitations/abc/"


def test_members_come_and_go(hub_with_all: SmallHub, cli: Cli) -> None:
    members = f"{PROJECTS}{PROJECT['id']}/members/"
    member = {"user": ALICE["id"], "username": "alice", "role": "viewer", "is_service": False}
    hub_with_all.routes["POST", members] = (201, member)
    hub_with_all.routes["GET", members] = page(member)
    hub_with_all.routes["DELETE", f"{members}{ALICE['id']}/"] = (204, None)
    assert cli("project", "add", "web", "alice", "--role", "viewer") == 0
    assert cli("project", "remove", "web", "alice", "--json") == 0
    assert cli("project", "remove", "web", "bob", "--json") == 4
    assert cli("project", "members", "nowhere", "--json") == 4


def test_who_has_no_password_is_told_of(
    hub_with_all: SmallHub, cli: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert cli("user", "create", "alice") == 0
    assert "agenthub manage changepassword alice" in capsys.readouterr().err
    assert cli("user", "create", "alice", "--password", "correct horse") == 0
    assert capsys.readouterr().err == "agenthub: alice is made.\n"


def test_a_link_is_whole_where_the_hub_says_where_it_listens(
    hub_with_all: SmallHub, cli: Cli, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"path": "/invitations/s/", "url": ""}
    hub_with_all.routes["POST", f"{PROJECTS}{PROJECT['id']}/invitations/"] = (201, made)
    (home / "address").write_text("127.0.0.1:8123")
    assert cli("project", "invite", "web") == 0
    assert capsys.readouterr().out == "http://127.0.0.1:8123/invitations/s/\n"
