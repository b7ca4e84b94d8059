"""Runs of an ACP agent (the scripted one) in a real supervisor: approvals, inputs, faults."""

from typing import Any

from nodes.contract.commands import CancelRun, DecideApproval, SendInput
from nodes.contract.ids import new_id
from nodes.server.control import Pong
from nodes.server.rundir import RunDir
from tests.supervisor.conftest import Event, Node, only
from tests.support import eventually_async

SCRIPTED = {"kind": "acp", "preset": "scripted"}


async def start(node: Node, prompt: str, **changes: Any) -> RunDir:
    return await node.start(runtime=SCRIPTED, prompt=prompt, **changes)


async def finish(node: Node, prompt: str, **changes: Any) -> list[Event]:
    return await node.finish(runtime=SCRIPTED, prompt=prompt, **changes)


def message(events: list[Event]) -> str:
    return "".join(event.payload["text"] for event in events if event.type == "run.message.delta")


def states(events: list[Event]) -> list[tuple[str, str]]:
    return [(e.payload["state"], e.payload["reason"]) for e in events if e.type == "run.state.changed"]


async def decide(node: Node, run: RunDir, option_id: str = "", action_hash: str = "") -> str:
    """Answer the open question; returns its approval id."""
    asked = (await node.event(run, "run.approval.requested")).payload
    outcome = "selected" if option_id else "cancelled"
    body = {"run": run.run_id, "approval_id": asked["approval_id"], "outcome": outcome, "option_id": option_id}
    await node.tell(run, DecideApproval.model_validate({**body, "action_hash": action_hash or asked["action_hash"]}))
    return str(asked["approval_id"])


async def test_an_agent_speaks_and_ends(node: Node) -> None:
    events = await finish(node, "@say hello there")
    assert message(events) == "hello there"
    started = only(events, "run.started")
    assert started["session_id"]
    assert started["phases"].keys() == {"workspace_s", "spawn_s", "handshake_s"}
    assert all(seconds >= 0 for seconds in started["phases"].values()) and started["phases"]["handshake_s"] > 0
    assert events[-1].type == "run.completed"


async def test_an_allowed_action_is_done(node: Node) -> None:
    run = await start(node, "@write notes.txt yes")
    await decide(node, run, "yes")
    await node.ended(run)
    events = node.events(run)
    assert (node.code / "notes.txt").read_text() == "yes\n"
    assert only(events, "run.approval.resolved")["result"] == "applied"
    assert states(events) == [("waiting", "approval"), ("running", "")]


async def test_a_rejected_action_is_not_done(node: Node) -> None:
    run = await start(node, "@write notes.txt yes")
    await decide(node, run, "no")
    await node.ended(run)
    assert not (node.code / "notes.txt").exists()


async def test_a_cancelled_question_is_answered_as_cancelled(node: Node) -> None:
    run = await start(node, "@ask shell")
    await decide(node, run)
    await node.ended(run)
    assert message(node.events(run)) == "The answer was cancelled."


async def test_an_answer_for_another_action_rejects(node: Node) -> None:
    run = await start(node, "@write notes.txt yes")
    await decide(node, run, "yes", action_hash="0" * 64)
    await node.ended(run)
    resolved = only(node.events(run), "run.approval.resolved")
    assert (resolved["result"], resolved["option_id"]) == ("hash_mismatch", "no")
    assert not (node.code / "notes.txt").exists()


async def test_an_option_that_was_never_offered_rejects(node: Node) -> None:
    run = await start(node, "@write notes.txt yes")
    await decide(node, run, "everything")
    await node.ended(run)
    assert only(node.events(run), "run.approval.resolved")["result"] == "hash_mismatch"


async def test_an_expired_question_is_rejected_and_the_turn_goes_on(node: Node) -> None:
    events = await finish(node, "@ask write", approval_seconds=0.3)
    resolved = only(events, "run.approval.resolved")
    assert (resolved["result"], resolved["outcome"], resolved["option_id"]) == ("expired", "selected", "no")
    assert message(events) == "The answer was reject_once." and events[-1].type == "run.completed"


async def test_a_decision_that_comes_too_late_changes_nothing(node: Node) -> None:
    run = await start(node, "@ask write @delay 60", approval_seconds=0.3)
    await node.event(run, "run.approval.resolved")
    id_ = await decide(node, run, "yes")
    await node.tell(run, CancelRun(run=run.run_id))
    await node.ended(run)
    resolved = only(node.events(run), "run.approval.resolved")
    assert (resolved["approval_id"], resolved["result"]) == (id_, "expired")


async def test_a_question_withdrawn_by_a_cancel_is_superseded(node: Node) -> None:
    run = await start(node, "@ask write")
    await node.event(run, "run.approval.requested")
    await node.tell(run, CancelRun(run=run.run_id))
    await node.ended(run)
    events = node.events(run)
    assert only(events, "run.approval.resolved")["result"] == "superseded"
    assert events[-1].type == "run.cancelled"


async def test_what_the_policy_allows_or_denies_is_not_asked(node: Node) -> None:
    events = await finish(node, "@ask read @ask shell", policy={"allow": ["read"], "deny": ["shell"]})
    assert message(events) == "The answer was allow_once.The answer was reject_once."
    assert not [event for event in events if event.type.startswith("run.approval")]


async def test_hashes_of_one_action_differ_between_runs(node: Node) -> None:
    hashes = set()
    for _ in range(2):
        events = await finish(node, "@ask write", approval_seconds=0.1)
        hashes.add(only(events, "run.approval.requested")["action_hash"])
    assert len(hashes) == 2


async def test_inputs_wait_in_line_and_a_repeat_is_one_input(node: Node) -> None:
    run = await start(node, "@delay 0.5 @say one", keep_open=True)
    await node.event(run, "run.turn.started")
    for input_id in ("a", "a", "b", "a"):
        await node.tell(run, SendInput(run=run.run_id, input_id=input_id, text=f"@say input-{input_id}"))
    await node.tell(run, SendInput(run=run.run_id, input_id="c", text="@exit 0"))
    await node.ended(run)
    events = node.events(run)
    turns = [event.payload["input_id"] for event in events if event.type == "run.turn.started"]
    assert turns[1:] == ["a", "b", "c"] and message(events) == "oneinput-ainput-b"


async def test_an_interrupt_takes_the_place_of_the_turn(node: Node) -> None:
    run = await start(node, "@delay 60 @say never", stop_grace_seconds=5)
    await node.event(run, "run.turn.started")
    await node.tell(run, SendInput(run=run.run_id, input_id="b", text="@say instead", mode="interrupt"))
    await node.ended(run)
    events = node.events(run)
    ends = [event.payload["stop_reason"] for event in events if event.type == "run.turn.completed"]
    assert ends == ["cancelled", "end_turn"] and message(events) == "instead"


async def test_a_run_kept_open_waits_for_input(node: Node) -> None:
    run = await start(node, "@say one", keep_open=True)
    waiting = await node.event(run, "run.state.changed")
    assert (waiting.payload["state"], waiting.payload["reason"]) == ("waiting", "input")
    await node.tell(run, SendInput(run=run.run_id, input_id="b", text="@say two"))
    await node.tell(run, SendInput(run=run.run_id, input_id="c", text="@exit 0"))
    await node.ended(run)
    assert message(node.events(run)) == "onetwo"


async def hold(node: Node, run: RunDir, is_held: bool) -> None:
    """What a node server says when all spools together are full; a ping says that it was heard."""
    client = await node.connect(run)
    await client.send_hold(is_held)
    await client.send_ping()
    async for message in client:
        if isinstance(message, Pong):
            break
    await client.aclose()


async def test_a_run_that_waits_for_an_answer_goes_on_waiting_while_the_disk_is_full(node: Node) -> None:
    run = await start(node, "@write notes.txt yes @delay 60")
    await node.event(run, "run.approval.requested")
    await hold(node, run, True)
    await hold(node, run, False)
    await hold(node, run, True)
    await decide(node, run, "yes")
    await eventually_async(lambda: states(node.events(run))[-1] == ("running", "disk_full"))
    await hold(node, run, False)
    await node.tell(run, CancelRun(run=run.run_id))
    await node.ended(run)
    assert states(node.events(run)) == [
        ("waiting", "approval"), ("running", "disk_full"), ("running", ""), ("stopping", "cancel_requested"),
    ]  # fmt: skip


async def test_a_run_that_waits_for_input_goes_on_waiting_while_the_disk_is_full(node: Node) -> None:
    run = await start(node, "@say one", keep_open=True)
    await node.event(run, "run.state.changed")
    await hold(node, run, True)
    await hold(node, run, False)
    await node.tell(run, CancelRun(run=run.run_id))
    await node.ended(run)
    assert states(node.events(run)) == [("waiting", "input"), ("stopping", "cancel_requested")]


async def test_a_killed_agent_is_named(node: Node) -> None:
    failed = only(await finish(node, "@say one @crash 9"), "run.failed")
    assert (failed["reason"], failed["signal"], failed["exit_code"]) == ("agent_killed", 9, None)


async def test_an_agent_that_exits_in_a_turn_is_named(node: Node) -> None:
    failed = only(await finish(node, "@say one @exit 3"), "run.failed")
    assert (failed["reason"], failed["exit_code"]) == ("agent_exited", 3)


async def test_a_refusal_is_a_failure(node: Node) -> None:
    assert only(await finish(node, "@say no @refuse"), "run.failed")["reason"] == "refused"


async def test_garbage_is_said_and_survived(node: Node) -> None:
    events = await finish(node, "@garbage @say still here")
    assert [event for event in events if event.type == "schema.validation_failed"]
    assert events[-1].type == "run.completed"


async def test_a_hanging_agent_is_called_stalled_and_can_be_cancelled(node: Node) -> None:
    run = await start(node, "@hang", stall_seconds=0.3)
    stalled = await node.event(run, "run.state.changed")
    assert stalled.payload["reason"] == "stalled"
    await node.tell(run, CancelRun(run=run.run_id))
    await node.ended(run)
    assert node.events(run)[-1].payload["signal"] == 9
    assert node.leftovers() == []


async def test_what_an_agent_left_in_another_session_is_swept(node: Node) -> None:
    events = await finish(node, "@fork")
    assert events[-1].type == "run.completed" and node.leftovers() == []


async def test_a_start_that_takes_too_long_is_ended(node: Node) -> None:
    runtime = {"kind": "acp", "command": ["sleep", "300"]}
    events = await node.finish(runtime=runtime, start_seconds=0.5)
    assert [event.type for event in events] == ["runtime.timeout", "run.failed"]
    assert events[-1].payload["reason"] == "start_timeout"


async def test_a_cancel_during_the_start_ends_it(node: Node) -> None:
    run = await node.start(runtime={"kind": "acp", "command": ["sleep", "300"]})
    await node.tell(run, CancelRun(run=run.run_id))
    await node.ended(run)
    assert node.events(run)[-1].type == "run.cancelled"


async def test_a_large_message_becomes_events_of_a_bearable_size(node: Node) -> None:
    events = await finish(node, f"@output 300000 @say {new_id()}", turn_seconds=30)
    assert message(events).startswith("x" * 300_000)
    assert max(len(event.payload.get("text", "")) for event in events) <= 64 * 1024
