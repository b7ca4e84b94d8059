"""``doctor`` on a hub: of each node the cause and the fix; runs that wait, are silent, or start slowly."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agenthub_site.doctor import hub as hub_checks
from agenthub_site.doctor import nodes, runs
from agenthub_site.doctor.findings import Case, Finding, Level
from agenthub_site.doctor.main import examine, line_of
from integrations.cli.client import Client
from integrations.cli.render import short_id
from integrations.cli.where import Where
from nodes.contract.config import Config
from nodes.health import Evidence, Trouble, judge

from .small_hub import RUN, Json, SmallHub, event

UUID = "0199a1b2-0000-7000-8000-000000000001"
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture
def case(hub: SmallHub, home: Path) -> Case:
    hub.routes["GET", "/readyz"] = (200, {})
    return Case(Where(home), hub=Client.over_socket(home / "hub.sock"))


def add_node(hub: SmallHub, status: str, reason: str = "Why.", *, details: Json | None = None, **row: Any) -> None:
    node = {
        "id": "oslo", "uuid": UUID, "direction": "dial", "is_enabled": True, "is_cordoned": False,
        "default_worktree_root": "/data/worktrees", "grpc_target": "https://oslo:50051", "tls_server_name": "",
        "is_joined": False, **row,
    }  # fmt: skip
    heard = {
        "last_heard_at": None if status == "unknown" else NOW.isoformat(), "facts": {"git_version": "2.39"},
        "runtimes": [{"preset": "codex", "found": True, "logged_in": True}], "vitals": {}, "generation": 1,
    }  # fmt: skip
    hub.routes["GET", "/api/admin/agent-nodes"] = (200, {"results": [node], "next": None})
    hub.routes["GET", "/api/admin/agent-nodes/oslo"] = (200, node)
    hub.routes["GET", "/api/admin/agent-nodes/oslo/health"] = (200, {"status": status, "reason": reason})
    hub.routes["GET", f"/api/v1/nodes/{UUID}/"] = (200, heard | (details or {}))


def codes(findings: Any) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings}


@pytest.mark.parametrize(
    ("status", "direction", "fix"),
    [
        ("offline", "dial", "agenthub doctor oslo"),
        ("offline", "tunnel", "agenthub node run"),
        ("stale", "dial", "agenthub doctor oslo"),
        ("mismatch", "dial", "agenthub doctor oslo"),
        ("unauthorized", "tunnel", "agenthub node token oslo"),
    ],
)
def test_a_status_has_a_level_and_a_fix(case: Case, hub: SmallHub, status: str, direction: str, fix: str) -> None:
    add_node(hub, status, "It is away.", direction=direction)
    found = codes(nodes.check_nodes(case))[f"node_{status}"]
    assert (
        found.level is (Level.WARNING if status == "stale" else Level.PROBLEM)
        and "It is away." in found.message
        and fix in found.fix
    )


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("unauthorized: the link was refused.", "Hub and node do not accept each other's credentials. unauthorized: "),
        ("The certificate expired.", "unauthorized: Hub and node do not accept each other's credentials. The cert"),
    ],
)
def test_the_word_unauthorized_is_said_once(case: Case, hub: SmallHub, trouble: str, words: str) -> None:
    now = datetime.now(UTC)
    add_node(hub, "unauthorized", judge(Evidence(trouble=Trouble("link_refused", trouble, now)), now).reason)
    said = codes(nodes.check_nodes(case))["node_unauthorized"].message
    assert said.startswith(words) and said.count("unauthorized") == 1


@pytest.mark.parametrize(
    ("direction", "is_joined", "fix"),
    [
        ("tunnel", True, "agenthub node token oslo"),
        ("tunnel", False, "agenthub node token oslo"),
        ("dial", True, "agenthub node token oslo"),
        ("dial", False, "new certificates"),
    ],
)
def test_a_revoked_node_is_not_called_disabled(
    case: Case, hub: SmallHub, direction: str, is_joined: bool, fix: str
) -> None:
    add_node(hub, "unauthorized", direction=direction, is_joined=is_joined, is_enabled=False, state="revoked")
    found = codes(nodes.check_nodes(case))
    assert found.keys() == {"node_revoked"} and fix in found["node_revoked"].fix


@pytest.mark.parametrize(("state", "dialled"), [("revoked", []), ("online", ["oslo"])])
def test_a_revoked_node_is_not_dialled(
    case: Case, hub: SmallHub, monkeypatch: pytest.MonkeyPatch, state: str, dialled: list[str]
) -> None:
    tried: list[str] = []

    def dial(_: Case, node: Json) -> list[Finding]:
        tried.append(node["id"])
        return []

    monkeypatch.setattr(nodes, "_dial", dial)
    add_node(hub, "unauthorized" if state == "revoked" else "online", state=state, is_joined=False)
    case.config = Config()
    found = codes(nodes.examine_node(case, "oslo"))
    assert tried == dialled and ("node_revoked" in found) == (state == "revoked")
    if state == "revoked":
        assert "new certificates" in found["node_revoked"].fix and "not_dialled" in found


def test_a_node_that_is_well_is_no_finding_but_ok(case: Case, hub: SmallHub) -> None:
    add_node(hub, "online")
    assert [finding.level for finding in nodes.check_nodes(case)] == [Level.OK]


@pytest.mark.parametrize(
    ("hours", "code", "level"), [(-1, "join_token_expired", Level.WARNING), (1, "not_joined", Level.NOTE)]
)
def test_a_join_token_that_expired_unused_is_named(
    case: Case, hub: SmallHub, hours: int, code: str, level: Level
) -> None:
    until = datetime.now(UTC) + timedelta(hours=hours)
    add_node(hub, "unknown", direction="tunnel", details={"join_token_expires_at": until.isoformat()})
    assert codes(nodes.check_nodes(case))[code].level is level


def test_a_node_that_nobody_made_a_token_for_has_none_that_expired(case: Case, hub: SmallHub) -> None:
    add_node(hub, "unknown", direction="tunnel", details={"join_token_expires_at": None})
    found = codes(nodes.check_nodes(case))
    assert "agenthub node token oslo" in found["not_joined"].fix and "join_token_expired" not in found


BOOTSTRAP = {
    "enabled": True, "grpc_listen_addr": "0.0.0.0:50051", "security_mode": "tls", "cert_dir": "/etc/agenthub/certs",
    "issuer": "agenthub", "audience": "agenthub-internal",
}  # fmt: skip


def test_a_hub_with_another_file_is_not_judged_by_this_one(case: Case, hub: SmallHub) -> None:
    add_node(hub, "online")
    hub.routes["GET", "/api/admin/agent-nodes/bootstrap"] = (200, BOOTSTRAP)
    case.config = Config()
    case.config.home = case.where.home
    found = codes([*hub_checks.check_settings(case), *nodes.examine_node(case, "oslo")])
    assert "internal_grpc.enabled, internal_grpc.listen" in found["other_settings"].message
    assert "-c FILE" in found["other_settings"].fix
    assert found["not_dialled"].level is Level.NOTE and "peer_not_configured" not in found


def test_a_hub_with_the_same_file_is_no_finding(case: Case, hub: SmallHub) -> None:
    case.config = Config()
    case.config.home = case.where.home
    setting = case.config.internal_grpc
    same = {"enabled": setting.enabled, "grpc_listen_addr": setting.listen, "cert_dir": str(case.config.cert_dir)}
    hub.routes["GET", "/api/admin/agent-nodes/bootstrap"] = (200, BOOTSTRAP | same)
    assert not list(hub_checks.check_settings(case))


def test_a_registered_node_that_was_never_reached_is_a_problem(case: Case, hub: SmallHub) -> None:
    add_node(hub, "unknown")
    assert "failed to connect to remote node" in codes(nodes.check_nodes(case))["node_unknown"].message


def test_what_a_node_lacks_is_named(case: Case, hub: SmallHub) -> None:
    runtimes = [{"preset": "codex", "found": True, "logged_in": False}]
    details = {"facts": {"git_version": ""}, "runtimes": runtimes}
    add_node(hub, "online", details=details, default_worktree_root="")
    found = codes(nodes.check_nodes(case))
    assert found.keys() >= {"git_missing", "login_required", "no_runtime", "no_default_worktree_root"}


@pytest.mark.parametrize(("figure", "fix"), [("disk_pct", "worktree root"), ("clock_skew_s", "timedatectl")])
def test_a_degraded_node_is_told_by_its_figure(case: Case, hub: SmallHub, figure: str, fix: str) -> None:
    add_node(hub, "degraded")
    health = {"status": "degraded", "reason": "It is beyond a threshold.", figure: {"level": "critical"}}
    hub.routes["GET", "/api/admin/agent-nodes/oslo/health"] = (200, health)
    found = codes(nodes.check_nodes(case))["node_degraded"]
    assert "beyond" in found.message and fix in found.fix


def test_without_a_hub_a_node_was_not_looked_at(home: Path) -> None:
    environ = {"AGENTHUB_SERVER__LISTEN": "127.0.0.1:0"}  # which is free
    found = codes(examine(Where(home, environ=environ), "oslo"))
    assert (found["hub_unreachable"].level, found[""].level) == (Level.PROBLEM, Level.OK)


def test_an_unknown_node_is_a_problem(case: Case, hub: SmallHub) -> None:
    assert codes(nodes.examine_node(case, "nobody"))["not_found"].level is Level.PROBLEM


def test_a_refused_credential_is_unauthorized_and_ends_the_questions(case: Case, hub: SmallHub) -> None:
    error = {"error": {"code": "invalid_token", "message": "This token is expired.", "data": {}}}
    hub.routes["GET", "/api/v1/me/"] = (401, error)
    found = codes(hub_checks.check_access(case))["invalid_token"]
    assert found.message.startswith("unauthorized: ") and "agenthub token create" in found.fix
    assert case.hub is None and list(nodes.check_nodes(case)) == []


def test_somebody_without_a_project_is_told_why_lists_are_empty(case: Case, hub: SmallHub) -> None:
    hub.routes["GET", "/api/v1/me/"] = (200, {"username": "charlie", "is_root": False, "projects": []})
    assert "no_membership" in codes(hub_checks.check_access(case))


# Runs.


def run(**changes: Any) -> Json:
    return {
        "id": RUN, "agent_name": "shop", "node_slug": "oslo", "state": "running", "reason": "", "message": "",
        "waiting_for": "", "last_seq": 9, "created_at": NOW.isoformat(), "started_at": NOW.isoformat(),
    } | changes  # fmt: skip


def add_runs(hub: SmallHub, *rows: Json, events: list[Json] | None = None) -> None:
    hub.routes["GET", "/api/v1/runs/"] = (200, {"results": list(rows), "next": None})
    hub.routes["GET", f"/api/v1/runs/{RUN}/events"] = (200, {"results": events or []})


def test_runs_whose_target_is_unavailable_are_counted(case: Case, hub: SmallHub) -> None:
    row = run(state="queued", reason="node_offline", waiting_for="its node, which is offline")
    add_runs(hub, row, row)
    found = codes(runs.check_waiting(case))["node_offline"]
    assert found.message == "target unavailable: 2 runs wait for its node, which is offline (oslo)."
    assert found.level is Level.PROBLEM and "agenthub doctor oslo" in found.fix


def test_runs_that_a_node_was_handed_and_did_not_start_are_listed(case: Case, hub: SmallHub) -> None:
    add_runs(hub, run(state="starting", reason="node_offline"), run(state="starting", reason="starting"))
    [found] = runs.check_waiting(case)
    assert (found.code, found.level) == ("run_not_answered", Level.PROBLEM)
    assert "oslo" in found.message and short_id(RUN) in found.message and "agenthub doctor oslo" in found.fix


def test_a_silent_runtime_is_named(case: Case, hub: SmallHub) -> None:
    add_runs(hub, run(reason="stalled"))
    assert "runtime gives no events" in codes(runs.check_silent(case))["stalled"].message


def test_a_runtime_that_is_not_logged_in_is_named(case: Case, hub: SmallHub) -> None:
    add_runs(hub, run(state="failed", reason="login_required", message="Log in."))
    assert "Log in." in codes(runs.check_silent(case))["login_required"].message


def at(item: Json, seconds: float) -> Json:
    return item | {"occurred_at": (NOW + timedelta(seconds=seconds)).isoformat()}


@pytest.mark.parametrize(
    ("phases", "code"),
    [
        ({"workspace_s": 40.0, "spawn_s": 0.1, "handshake_s": 2.0}, "slow_workspace"),
        ({"workspace_s": 1.0, "spawn_s": 33.0, "handshake_s": 2.0}, "slow_spawn"),
        ({"workspace_s": 1.0, "spawn_s": 0.1, "handshake_s": 50.0}, "slow_handshake"),
    ],
)
def test_a_slow_start_is_named_by_its_phase(case: Case, hub: SmallHub, phases: Json, code: str) -> None:
    started = at(event(1, "run.started", runtime="acp", phases=phases), sum(phases.values()) + 1)
    add_runs(hub, run(), events=[started])
    assert codes(runs.check_starts(case)).keys() == {code}


def test_a_start_that_waited_at_the_hub_is_not_the_nodes(case: Case, hub: SmallHub) -> None:
    add_runs(hub, run(), events=[at(event(1, "run.started", runtime="acp"), 90.0)])
    assert codes(runs.check_starts(case)).keys() == {"slow_queue"}


def test_the_first_word_is_a_phase_too(case: Case, hub: SmallHub) -> None:
    started = at(event(1, "run.started", runtime="acp"), 1.0)
    add_runs(hub, run(), events=[started, at(event(2, "run.message.delta", text="Hi"), 100.0)])
    assert codes(runs.check_starts(case)).keys() == {"slow_first_event"}


def test_a_quick_start_is_ok(case: Case, hub: SmallHub) -> None:
    add_runs(hub, run(), events=[at(event(1, "run.started", runtime="acp"), 2.0)])
    assert [finding.level for finding in runs.check_starts(case)] == [Level.OK]


def test_what_a_node_says_cannot_move_the_cursor() -> None:
    assert "\x1b" not in line_of(Finding(Level.NOTE, "node \x1b[2J", "bad \x1b[31m word", "fix \x1b[0m"))
