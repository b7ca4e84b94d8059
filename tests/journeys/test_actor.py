"""`agenthub actor`: from outside with the shared secret, and from within a run, where it just works."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.cli.client import Client
from nodes.server.sandbox import why_not
from tests.support import eventually

from .hub import Hub, running_hub
from .test_operator_socket import make_agent

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]
GRPC = {"AGENTHUB_INTERNAL_GRPC__ENABLED": "true", "AGENTHUB_INTERNAL_GRPC__LISTEN": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub(**GRPC) as hub:
        yield hub


def actor(hub: Hub, *arguments: str, code: int = 0, **environ: str) -> Any:
    ended = hub.cli("actor", *arguments, "--json", timeout=90, **{**GRPC, **environ})
    assert ended.returncode == code, ended.stdout + ended.stderr + hub.logs()
    return json.loads(ended.stdout)


def run_script(hub: Hub, name: str, script: str, isolation: str = "none") -> tuple[str, str]:
    """A run of a command by an agent of its own: how it ended, and what it printed."""
    make_agent(hub, name, ["sh", "-c", script])
    client = Client.over_socket(hub.home / "hub.sock")
    agent = next(each for each in client.get("/api/v1/agents/")["results"] if each["name"] == name)
    client.patch(f"/api/v1/agents/{agent['id']}/", {"isolation": isolation})
    run = hub.start_run("Go", name)
    hub.follow(run).wait()
    said = "".join(event["payload"]["text"] for event in hub.events(run) if event["type"] == "run.output")
    return hub.run_of(run)["state"], said


def test_from_outside_it_speaks_for_whoever_is_named(hub: Hub) -> None:
    team = actor(hub, "team-members", "--actor-id", "demo")
    names = {member["name"] for member in team["members"]}
    assert {"demo/demo", "root"} <= names
    first, second = (
        actor(hub, "send", "--actor-id", "root", "--to", "demo", "--payload", f'{{"n": {n}}}') for n in (1, 2)
    )
    assert (first["status"], first["created"]) == ("queued", True)
    page = actor(hub, "inbox", "--actor-id", "demo")
    assert [mail["payload"] for mail in page["messages"]] == [{"n": 1}, {"n": 2}]
    numbers = [str(mail["number"]) for mail in actor(hub, "receive", "--actor-id", "demo")["messages"]]
    one = actor(hub, "ack", "--actor-id", "demo", "--message-id", numbers[0])
    assert (one["status"], one["status_changed"]) == ("acked", True)
    several = actor(
        hub, "ack", "--actor-id", "demo", "--message-id", numbers[0], "--message-id", "99999",
        "--message-id", second["message_id"], code=1,
    )  # fmt: skip
    assert [each.get("status_changed") for each in several] == [False, None, True]
    assert several[1]["error"]["code"] == "not_found"
    assert actor(hub, "ack", "--actor-id", "demo", "--message-id", "99999", code=4)["error"]["code"] == "not_found"


def test_a_team_is_made_by_command_and_written_to_from_a_run_and_from_outside(hub: Hub) -> None:
    made = hub.cli("team", "create", "docs", "demo", "user:root", "--project", "demo", "--json")
    assert made.returncode == 0, made.stdout + made.stderr
    script = "agenthub actor team-members --team docs --json && agenthub actor send --to team:docs --text Hello"
    state, said = run_script(hub, "writer", script)
    assert state == "succeeded", said + hub.logs()
    team, sent = map(json.loads, said.splitlines())
    assert [member["name"] for member in team["members"]] == ["demo/demo", "root"]
    sent_again = actor(hub, "send", "--actor-id", "root", "--to", "team:docs", "--text", "Hello")
    assert ([to["kind"] for to in sent["to"]], len(sent_again["to"])) == (["agent", "user"], 1)
    unknown = actor(hub, "send", "--actor-id", "root", "--to", "team:none", "--text", "Hello", code=4)
    assert unknown["error"]["code"] == "unknown_recipient"


def test_what_is_missing_is_said_plainly(hub: Hub) -> None:
    off = actor(hub, "inbox", "--actor-id", "demo", code=2, AGENTHUB_INTERNAL_GRPC__ENABLED="false")
    assert off["error"]["code"] == "internal_grpc_disabled"
    wrong = actor(hub, "inbox", "--actor-id", "demo", code=4, AGENTHUB_INTERNAL_GRPC__AUTH__SHARED_SECRET="x" * 32)
    assert wrong["error"]["code"] == "unauthenticated"
    empty = {"AGENTHUB_INTERNAL_GRPC__SECURITY__CERT_DIR": str(hub.home / "nowhere")}
    assert actor(hub, "inbox", "--actor-id", "demo", code=2, **empty)["error"]["code"] == "no_shared_secret"
    assert actor(hub, "inbox", "--actor-id", "nobody", code=4)["error"]["code"] == "not_found"
    assert actor(hub, "inbox", code=4)["error"]["code"] == "invalid"


def test_from_another_machine_it_needs_the_hubs_authority_and_secret(hub: Hub, tmp_path: Path) -> None:
    here, certs = tmp_path / "here", tmp_path / "here" / "internal-grpc"
    certs.mkdir(parents=True)
    address = (hub.home / "actor-address").read_text()
    asked = ("inbox", "--actor-id", "demo", "--address", address)
    elsewhere = {"AGENTHUB_HOME": str(here)}
    assert actor(hub, *asked, code=2, **elsewhere)["error"]["code"] == "no_authority"
    shutil.copy(hub.home / "pki" / "ca.pem", certs / "ca-cert.pem")
    assert actor(hub, *asked, code=2, **elsewhere)["error"]["code"] == "no_shared_secret"
    shutil.copy(hub.home / "internal-grpc" / "auth_secret.txt", certs)
    assert "pending_count" in actor(hub, *asked, code=0, **elsewhere)


SCRIPT = """
set -e
agenthub actor team-members --json
agenthub actor send --to user --text "From within" --subject Hello
agenthub actor send --to talker --payload '{"to": "myself"}'
agenthub actor receive --wait 10 --json
agenthub actor ack --message-id 1
agenthub actor inbox --actor-id talker --json >/dev/null
agenthub actor inbox --actor-id demo/talker --json >/dev/null
agenthub actor inbox --actor-id somebody-else --json || echo "refused: $?"
"""


@pytest.mark.parametrize("isolation", ["none", "masked"])
def test_within_a_run_it_just_works(hub: Hub, isolation: str) -> None:
    if isolation == "masked" and why_not():
        pytest.skip(why_not())
    name = f"talker-{isolation}"
    state, said = run_script(hub, name, SCRIPT.replace("talker", name), isolation)
    assert state == "succeeded", said + hub.logs()
    *lines, last = said.splitlines()
    team, to_user, to_self, received, acked, refused = map(json.loads, lines)
    assert last == "refused: 4"
    assert [member["name"] for member in team["members"] if member["is_you"]] == [f"demo/{name}"]
    assert to_user["to"][0]["kind"] == "user"
    assert [mail["message_id"] for mail in received["messages"]] == [to_self["message_id"]]
    assert (acked["status_changed"], refused["error"]["code"]) == (True, "forbidden")
    mail = actor(hub, "inbox", "--actor-id", "root")["messages"][-1]
    assert (mail["from"]["name"], mail["subject"]) == (f"demo/{name}", "Hello")
    assert mail["run_id"]


REACH = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", PORT), 5)' && echo reached"


@pytest.mark.skipif(bool(why_not()) and "CI" not in os.environ, reason=why_not() or "it can be masked")
def test_a_project_keeps_its_agents_from_the_network_and_not_from_their_mail(hub: Hub) -> None:
    """The agent demands nothing itself. What it reaches goes by its node."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        script = REACH.replace("PORT", str(door.getsockname()[1]))
        assert run_script(hub, "free", script) == ("succeeded", "reached\n")
        assert hub.cli("project", "edit", "demo", "--network", "none").returncode == 0
        try:
            state, said = run_script(hub, "kept", f"{script}; agenthub actor inbox --json")
        finally:
            hub.cli("project", "edit", "demo", "--network", "shared")
    run = Client.over_socket(hub.home / "hub.sock").get("/api/v1/runs/", agent="kept")["results"][0]
    assert (state, run["isolation"], run["network"]) == ("succeeded", "masked", "none"), said
    assert "reached" not in said
    assert "Connection refused" in said  # by a loopback of its own
    assert '"messages":[]' in said


def test_a_runs_token_is_good_for_nothing_after_it(hub: Hub, home: Path) -> None:
    names = "$AGENTHUB_RUN_ID $AGENTHUB_ACTOR_SOCKET $AGENTHUB_ACTOR_ID $AGENTHUB_ACTOR_TOKEN"
    _, said = run_script(hub, "leaver", f"echo {names} | tee {home}/shown")
    run, socket, agent, token = (home / "shown").read_text().split()
    assert agent in said
    assert token not in said
    shown = {
        "AGENTHUB_RUN_ID": run, "AGENTHUB_ACTOR_SOCKET": socket, "AGENTHUB_ACTOR_ID": agent,
        "AGENTHUB_ACTOR_TOKEN": token,
    }  # fmt: skip
    assert actor(hub, "inbox", code=4, **shown)["error"]["code"] == "bad_run_token"


def test_mail_is_put_to_a_live_session(hub: Hub) -> None:
    run = hub.start_run("Say hello", "demo", "--keep-open")
    eventually(lambda: hub.run_of(run)["state"] in ("running", "waiting"), 60)
    sent = actor(hub, "send", "--actor-id", "root", "--to", "demo", "--text", "Mind the tide", "--subject", "Tide")
    eventually(lambda: "Mind the tide" in json.dumps(hub.events(run)), 60)
    assert "no instruction" in json.dumps(hub.events(run))
    page = actor(hub, "inbox", "--actor-id", "demo")
    assert [mail["state"] for mail in page["messages"] if mail["message_id"] == sent["message_id"]] == ["queued"]
    assert hub.cli("cancel", run).returncode == 0


def test_who_is_in_several_projects_says_in_which(hub: Hub) -> None:
    """The last of them: from here on root is in several."""
    assert hub.cli("project", "create", "harbour").returncode == 0
    by, to = ("--actor-id", "root"), ("--to", "demo", "--text", "Hello")
    for words in (("team-members",), ("send", *to), ("time-trigger-set", "--delay-seconds", "60", "--message", "Look")):
        refused = actor(hub, *words, *by, code=4)["error"]
        assert (refused["code"], list(refused["data"]["fields"])) == ("invalid", ["project"])
        actor(hub, *words, *by, "--project", "demo")
    assert actor(hub, "team-members", *by, "--project", "nowhere", code=4)["error"]["code"] == "not_found"
