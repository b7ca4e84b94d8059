"""The policy where it is applied: at the node, without the hub; and in sessions that are under way when it changes."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from integrations.cli.client import Client
from nodes.server.rundir import RunDir, Standing
from tests.journeys.hub import Hub, new_hub
from tests.support import eventually

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def hub(home: Path) -> Iterator[Hub]:
    with new_hub(home) as hub:
        hub.up()
        yield hub


def of(hub: Hub, run: str, *types: str) -> list[Any]:
    return [event for event in hub.events(run) if event["type"] in types]


def test_what_is_denied_or_allowed_needs_no_hub(hub: Hub) -> None:
    hub.ask("policy", "add", "deny", "--project", "demo", "--command", "git push*")
    hub.ask("policy", "add", "allow", "--project", "demo", "--command", "touch allowed.txt")
    run = hub.start_run("@say ready. @delay 12 @shell git push origin main @shell touch allowed.txt @say done")
    eventually(lambda: of(hub, run, "run.message.delta"), 60)
    away, gone_at = hub.child("web"), datetime.now(UTC)
    os.kill(away, signal.SIGSTOP)
    held = RunDir(hub.home / "node/runs", run)
    try:
        eventually(lambda: held.standing() is Standing.ENDED, 90)
        back_at = datetime.now(UTC)
    finally:
        os.kill(away, signal.SIGCONT)
    eventually(lambda: hub.run_of(run)["state"] == "succeeded", 90)
    decided = of(hub, run, "run.policy.decided")
    assert [event["payload"]["verdict"] for event in decided] == ["deny", "allow"]
    assert all(gone_at < datetime.fromisoformat(event["occurred_at"]) < back_at for event in decided)
    assert not of(hub, run, "run.approval.requested")
    assert "allowed.txt" in hub.cli("diff", run).stdout


def test_a_standing_answer_holds_in_the_session_that_asked_until_it_is_taken_away(hub: Hub) -> None:
    client = Client.over_socket(hub.home / "hub.sock")
    run = hub.start_run("@shell touch made.txt", "demo", "--keep-open")

    def asked() -> list[Any]:
        found: list[Any] = client.get("/api/v1/approvals/", run=run, state="open")["results"]
        return found

    def is_idle(turns: int) -> bool:
        return len(of(hub, run, "run.turn.completed")) == turns

    first = eventually(asked, 60)[0]["id"]
    client.post(f"/api/v1/approvals/{first}/always-allow/", {})
    eventually(lambda: is_idle(1), 60)
    (grant,) = client.get("/api/v1/policy/grants/")["results"]
    hub.ask("input", run, "@shell touch made.txt")
    eventually(lambda: is_idle(2), 60)
    assert len(of(hub, run, "run.approval.requested")) == 1
    assert [event["payload"]["grant"] for event in of(hub, run, "run.policy.decided")] == [grant["id"]]
    hub.ask("policy", "remove", grant["id"])
    eventually(lambda: client.get("/api/v1/policy/grants/")["results"] == [], 10)
    hub.ask("input", run, "@shell touch made.txt")
    again = eventually(asked, 60)[0]["id"]
    assert again != first
    assert hub.cli("approve", again, "--reject").returncode == 0
    eventually(lambda: is_idle(3), 60)
    assert hub.cli("cancel", run).returncode == 0
