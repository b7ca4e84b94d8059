"""Commands: kept before they are accepted, answered the same at every repeat, refused with a code."""

import json

import pytest

from nodes.contract.commands import CancelRun, DecideApproval, SendInput
from nodes.contract.ids import new_id, now_us
from nodes.server.rundir import RunDir, Standing
from tests.node.hub import SmallHub
from tests.node.parts import NodeProcess, start_of
from tests.support import eventually_async


@pytest.fixture
def run_id() -> str:
    return str(new_id())


def directory_of(node: NodeProcess, run_id: str) -> RunDir:
    return RunDir(node.home / "node/runs", run_id)


async def test_a_start_after_a_cancel_is_refused_for_good(
    shared_node: NodeProcess, shared_hub: SmallHub, run_id: str
) -> None:
    cancel = await shared_hub.command(run_id, CancelRun(run=run_id))
    start = await shared_hub.command(run_id, start_of(run_id, shared_node.home))
    assert (cancel.accepted, cancel.code) == (True, "unknown_run")
    assert (start.accepted, start.code) == (False, "cancelled")
    assert directory_of(shared_node, run_id).standing() is Standing.BURIED


async def test_a_refusal_is_the_same_after_a_restart(
    shared_node: NodeProcess, shared_hub: SmallHub, run_id: str
) -> None:
    await shared_hub.command(run_id, CancelRun(run=run_id))
    first = await shared_hub.command(run_id, start_of(run_id, shared_node.home), id_=str(new_id()))
    shared_node.kill()
    shared_node.start()
    await shared_hub.aclose()
    await shared_hub.connect()
    again = await shared_hub.command(run_id, start_of(run_id, shared_node.home), id_=first.id)
    assert (again.code, again.message) == (first.code, first.message)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("dance", b"{}"),
        ("cancel_run", b"\xff not JSON"),
        ("cancel_run", b'{"nothing": "of use"}'),
        ("start_run", b"{}"),
    ],
)
async def test_a_body_that_does_not_fit_is_a_bad_command(
    shared_node: NodeProcess, shared_hub: SmallHub, run_id: str, kind: str, body: bytes
) -> None:
    result = await shared_hub.send(run_id, kind, body)
    assert (result.accepted, result.code) == (False, "bad_command")
    assert not directory_of(shared_node, run_id).path.exists()


@pytest.mark.parametrize("run_id", ["", "../../etc", "no-uuid", "019A0000-0000-7000-8000-00000000051A"])
async def test_a_run_id_that_is_none_is_a_bad_command(
    shared_node: NodeProcess, shared_hub: SmallHub, run_id: str
) -> None:
    result = await shared_hub.send(run_id, "cancel_run", json.dumps({"run": run_id}).encode())
    assert (result.accepted, result.code) == (False, "bad_command")


async def test_a_body_for_another_run_is_a_bad_command(shared_hub: SmallHub, run_id: str) -> None:
    result = await shared_hub.command(run_id, CancelRun(run=str(new_id())))
    assert (result.accepted, result.code) == (False, "bad_command")


async def test_a_command_after_its_time_is_refused(shared_node: NodeProcess, shared_hub: SmallHub, run_id: str) -> None:
    result = await shared_hub.command(run_id, start_of(run_id, shared_node.home), not_after_ms=1)
    assert (result.accepted, result.code) == (False, "expired")
    assert directory_of(shared_node, run_id).standing() is Standing.UNKNOWN


async def test_a_commands_time_is_told_by_the_hubs_clock(
    node: NodeProcess, hub: SmallHub, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_now = now_us() - 3_600_000_000
    monkeypatch.setattr("nodes.link.link.now_us", lambda: hub_now)
    await hub.connect()
    await eventually_async(lambda: bool(hub.heartbeats))
    for minutes, code in ((1, "unknown_run"), (-1, "expired")):
        body = SendInput(run=run_id, input_id="1", text="hello")
        assert (await hub.command(run_id, body, not_after_ms=hub_now // 1000 + minutes * 60_000)).code == code


@pytest.mark.parametrize("kind", ["input", "decision"])
async def test_input_and_decisions_for_an_unknown_run_are_refused(shared_hub: SmallHub, run_id: str, kind: str) -> None:
    body = (
        SendInput(run=run_id, input_id="1", text="hello")
        if kind == "input"
        else DecideApproval(run=run_id, approval_id="1", action_hash="x", outcome="cancelled")
    )
    result = await shared_hub.command(run_id, body)
    assert (result.accepted, result.code) == (False, "unknown_run")
