"""From the first start to the end of a first run, by the commands that the README names."""

import json

import pytest

from tests.support import eventually

from .hub import Hub

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]


def test_up_says_where_it_is_and_who_may_sign_in(hub: Hub) -> None:
    assert hub.told["address"].startswith("http://127.0.0.1:")
    assert hub.told["user"] == "root" and len(hub.told["password"]) >= 16
    assert hub.told["project"] == "demo" and hub.told["agents"][0] == "demo"


def test_a_followed_run_ends_with_0(hub: Hub) -> None:
    ended = hub.cli("run", "demo", "Say hello", "--follow")
    assert ended.returncode == 0, ended.stderr + hub.logs()
    assert "> Say hello" in ended.stdout and ended.stdout.splitlines()[-1] == "succeeded"


def test_the_first_up_left_a_run_to_look_at(hub: Hub) -> None:
    assert hub.follow(hub.told["run"]).wait() == 0


def test_events_are_numbered_from_1_without_gaps(hub: Hub) -> None:
    run = hub.start_run("Have a look")
    follower = hub.follow(run)
    assert follower.wait() == 0
    assert follower.seqs() == list(range(1, len(follower.events) + 1))
    assert follower.events == hub.events(run)


def test_an_approval_is_answered_from_the_command_line(hub: Hub) -> None:
    run = hub.start_run("Write a note")
    follower = hub.follow(run)
    eventually(lambda: follower.has("run.approval.requested"), 60)
    assert hub.ask("approvals", "--run", run)[0]["run"] == run
    answered = hub.cli("approve", run[-8:], "--allow")
    assert answered.returncode == 0, answered.stderr
    assert follower.wait() == 0
    resolved = next(event for event in follower.events if event["type"] == "run.approval.resolved")
    assert resolved["payload"]["result"] == "applied"
    assert "+- Write a note" in hub.cli("diff", run).stdout
    assert hub.cli("approve", run, "--allow").returncode == 4


def test_a_rejected_action_does_not_happen(hub: Hub) -> None:
    run = hub.start_run("Write a note")
    follower = hub.follow(run)
    eventually(lambda: follower.has("run.approval.requested"), 60)
    assert hub.cli("approve", run, "--reject").returncode == 0
    assert follower.wait() == 0
    assert hub.cli("diff", run).stdout == ""


def test_a_cancelled_run_exits_with_5(hub: Hub) -> None:
    run = hub.start_run("@events 100000 rate 20")
    follower = hub.follow(run)
    eventually(lambda: follower.has("run.plan.updated"), 60)
    assert hub.cli("cancel", run).returncode == 0
    assert follower.wait() == 5
    assert hub.run_of(run)["state"] == "cancelled"


def test_a_kept_run_takes_another_prompt(hub: Hub) -> None:
    run = hub.start_run("@say one", "demo", "--keep-open")
    follower = hub.follow(run)
    eventually(lambda: hub.run_of(run)["reason"] == "input", 60)
    assert hub.cli("input", run, "@say two").returncode == 0
    eventually(lambda: sum(event["type"] == "run.turn.completed" for event in follower.events) == 2, 60)
    assert hub.cli("cancel", run).returncode == 0
    assert follower.wait() == 5


def test_an_unknown_agent_is_refused_by_name(hub: Hub) -> None:
    ended = hub.cli("run", "nobody", "Say hello", "--json")
    assert ended.returncode == 4
    assert json.loads(ended.stdout)["error"]["code"] == "not_found"


def test_a_token_opens_the_tcp_door_and_a_wrong_one_does_not(hub: Hub) -> None:
    secret = hub.ask("token", "create", "journey")["token"]
    over_tcp = {"AGENTHUB_URL": hub.told["address"], "AGENTHUB_TOKEN": secret}
    assert hub.cli("agents", **over_tcp).returncode == 0
    assert hub.cli("agents", **over_tcp | {"AGENTHUB_TOKEN": "aht_wrong"}).returncode == 4
    assert hub.cli("token", "revoke", "journey").returncode == 0
    assert hub.cli("agents", **over_tcp).returncode == 4


def test_doctor_finds_nothing_wrong(hub: Hub) -> None:
    ended = hub.cli("doctor", "--json")
    assert [finding for finding in json.loads(ended.stdout) if finding["level"] == "problem"] == []
    assert ended.returncode == 0


def test_the_doctor_walks_the_checklist_and_cleans_up(hub: Hub) -> None:
    ended = hub.cli("doctor", "--smoke", "--json", AGENTHUB_SMOKE_PASSWORD=hub.told["password"])
    findings = {finding["what"]: finding for finding in json.loads(ended.stdout)}
    assert ended.returncode == 0, ended.stdout + hub.logs()
    walked = [what for what, finding in findings.items() if finding["level"] == "ok"]
    steps = ["login", "agent", "run", "history", "approval", "diff", "safe paths", "cancel", "clean up"]
    assert walked == ["configuration", "hub", *steps]
    assert {what for what, finding in findings.items() if finding["code"] == "not_walked"} == {
        "remote nodes", "pages", "restart",
    }  # fmt: skip
    assert not [agent for agent in hub.ask("agents") if agent["name"].startswith("doctor-smoke")]
    assert not (hub.home / "worktrees/doctor-smoke").exists()
