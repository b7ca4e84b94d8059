"""``doctor --smoke`` where the hub is not well: it says what, ends with 1, and leaves nothing of its own behind."""

import json
from pathlib import Path

import pytest

from agenthub_site.doctor.main import main
from integrations.cli.exits import Exit
from integrations.cli.where import Where

from .small_hub import RUN, Answer, Json, Seen, SmallHub, serve, story

Capture = pytest.CaptureFixture[str]
TOKEN = "aht_of-the-walk"


def good(result: object) -> Answer:
    return 200, result


@pytest.fixture
def walked(hub: SmallHub) -> SmallHub:
    """A hub on which every run succeeds at once with the same events."""

    def me(seen: Seen) -> Answer:
        if seen.headers.get("Authorization") == f"Bearer {TOKEN}":
            return 200, {"username": "root"}
        return 401, {"error": {"code": "invalid_token", "message": "No.", "data": {}}}

    run = {"id": RUN, "state": "succeeded", "reason": "finished", "message": "", "workspace": "", "waiting_for": ""}
    hub.routes |= {
        ("GET", "/readyz"): good({}),
        ("GET", "/login/"): good("password"),
        ("GET", "/api/v1/me/"): me,
        ("POST", "/api/v1/tokens/"): good({"id": "t1", "token": TOKEN}),
        ("DELETE", "/api/v1/tokens/t1/"): (204, None),
        ("GET", "/api/v1/projects/"): good({"results": [{"slug": "doctor-smoke"}], "next": None}),
        ("POST", "/api/v1/agents/"): good({"id": "a1"}),
        ("DELETE", "/api/v1/agents/a1/"): (204, None),
        ("POST", "/api/v1/runs/"): good({"id": RUN}),
        ("GET", f"/api/v1/runs/{RUN}/"): good(run),
        ("GET", f"/api/v1/runs/{RUN}/events"): good({"results": story()}),
        ("GET", f"/api/v1/runs/{RUN}/diff/"): good({"state": "none", "patch": ""}),
        ("GET", "/api/v1/nodes/"): good({"results": [], "next": None}),
    }
    return hub


def walk(home: Path, hub: SmallHub, capsys: Capture) -> tuple[int, dict[str, Json]]:
    with serve(hub) as url:
        (home / "address").write_text(url.removeprefix("http://"))
        status = main(["--smoke", "--json"], Where(home))
    return status, {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}


def test_each_step_that_fails_is_named_and_the_others_go_on(home: Path, walked: SmallHub, capsys: Capture) -> None:
    status, found = walk(home, walked, capsys)
    assert status == Exit.FAILED
    failed = {what for what, finding in found.items() if finding["code"] == "smoke_failed"}
    assert failed == {"approval", "diff", "safe paths"} and found["cancel"]["level"] == "problem"
    assert found["safe paths"]["fix"].startswith("Take it out of safe_paths")
    assert {what for what in ("login", "agent", "run", "history") if found[what]["level"] == "ok"} == {
        "login", "agent", "run", "history",
    }  # fmt: skip


def test_what_was_made_is_put_away(home: Path, walked: SmallHub, capsys: Capture) -> None:
    walk(home, walked, capsys)
    assert len(walked.asked("DELETE", "/api/v1/agents/a1/")) == len(walked.asked("POST", "/api/v1/agents/"))
    assert walked.asked("DELETE", "/api/v1/tokens/t1/")
    assert not (home / "worktrees/doctor-smoke").exists()


def test_a_history_that_changed_is_a_failure(home: Path, walked: SmallHub, capsys: Capture) -> None:
    walked.routes["GET", f"/api/v1/runs/{RUN}/events"] = (200, {"results": story()[:-1]})
    assert walk(home, walked, capsys)[1]["history"]["code"] == "smoke_failed"


def test_a_hub_that_lets_a_wrong_token_in_is_a_failure(home: Path, walked: SmallHub, capsys: Capture) -> None:
    walked.routes["GET", "/api/v1/me/"] = (200, {"username": "root"})
    assert "wrong token" in walk(home, walked, capsys)[1]["login"]["message"]


def test_without_an_agent_the_rest_is_not_walked(home: Path, walked: SmallHub, capsys: Capture) -> None:
    walked.routes["POST", "/api/v1/agents/"] = (403, {"error": {"code": "forbidden", "message": "No.", "data": {}}})
    status, found = walk(home, walked, capsys)
    assert status == Exit.FAILED and found["agent"]["code"] == "forbidden"
    assert found["run"]["message"] == "not walked: it needs an agent."


def remote(hub: SmallHub, **roots: list[str] | None) -> None:
    """Nodes with these roots, the last of which holds worktrees; None: it is offline. Without a safe path there is
    no directory to work in either."""
    nodes = [{"id": name, "slug": name, "health": "online" if given else "offline"} for name, given in roots.items()]
    hub.routes["GET", "/api/v1/nodes/"] = good({"results": nodes, "next": None})
    hub.routes["GET", "/api/v1/routes/test/"] = good({"is_allowed": True})
    for name, given in roots.items():
        hub.routes["GET", f"/api/v1/nodes/{name}/"] = good({"allowed_roots": given})
    ended = hub.routes["GET", f"/api/v1/runs/{RUN}/"]
    assert not callable(ended)

    def ends(_: Seen) -> Answer:
        body = hub.asked("POST", "/api/v1/agents/")[-1].body
        if body["node"] in roots and len(roots[body["node"]] or []) == 1:
            return good({**ended[1], "state": "failed", "reason": "workspace_missing"})
        return good({**ended[1], "node_slug": body["node"]})

    hub.routes["GET", f"/api/v1/runs/{RUN}/"] = ends


def test_each_node_that_is_left_out_is_said_with_what_to_do(home: Path, walked: SmallHub, capsys: Capture) -> None:
    remote(walked, bergen=["/srv", "/w"], oslo=["/w/tree s"], lima=None)
    _, found = walk(home, walked, capsys)
    assert found["remote nodes"]["message"] == "bergen: started, streamed back"
    left_out = {name: found[f"node {name}"] for name in ("oslo", "lima")}
    assert {finding["code"] for finding in left_out.values()} == {"not_walked"}
    assert "mkdir -p '/w/tree s/doctor-smoke'" in left_out["oslo"]["fix"]
    assert left_out["lima"]["message"] == "not walked: it is offline." and "doctor lima" in left_out["lima"]["fix"]
    workdirs = [seen.body.get("workdir") for seen in walked.asked("POST", "/api/v1/agents/")]
    assert workdirs[-2:] == ["/srv", "/w/tree s/doctor-smoke"]


def test_where_no_node_has_a_directory_nothing_is_said_to_be_walked(
    home: Path, walked: SmallHub, capsys: Capture
) -> None:
    remote(walked, oslo=["/w"])
    _, found = walk(home, walked, capsys)
    assert found["remote nodes"]["code"] == found["node oslo"]["code"] == "not_walked"


def test_a_hub_that_is_away_is_a_problem(home: Path, capsys: Capture) -> None:
    assert main(["--smoke", "--json"], Where(home)) == Exit.FAILED
    found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["hub"]["level"] == "problem"


@pytest.mark.parametrize("arguments", [["--smoke", "oslo"], ["--repo", "/srv"], ["--user", "root", "oslo"]])
def test_options_that_do_not_fit_are_wrong_usage(home: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, Where(home))
    assert ended.value.code == Exit.USAGE
