"""Real agents under their real supervisor: approvals, diff, cancel, hang, kill; and nothing of them is left."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from nodes.contract.events import (
    ApprovalResolved,
    DiffReady,
    RunCancelled,
    RunCompleted,
    RunStarted,
    StateChanged,
    ToolFailed,
    ValidationFailed,
)
from nodes.contract.reasons import Reason
from tests.fakes.model_server import model_server
from tests.fakes.supervised import SupervisedRun
from tests.peers.agents import Peer

pytestmark = pytest.mark.timeout(240)
Start = Callable[..., Awaitable[SupervisedRun]]


@pytest.fixture
async def start(peer: Peer, home: Path) -> AsyncIterator[Start]:
    """Starts the agent in a git repository of its own."""
    run = SupervisedRun(home)
    git = ["git", "-C", str(run.workspace), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "Begin"], check=True)
    async with model_server(str(run.workspace)) as model:

        async def start_(prompt: str, **changes: object) -> SupervisedRun:
            run.start(prompt, peer.runtime(home / "user", model.url), **changes)
            return run

        try:
            yield start_
        finally:
            run.end()


async def test_an_approved_edit_is_in_the_diff(start: Start, peer: Peer) -> None:
    run = await start("Please [[write notes.txt hello there]]")
    question = await run.answer("allow_once")
    assert isinstance(await run.ended(), RunCompleted)
    assert (question.kind, question.paths) == ("write", ["notes.txt"])
    assert [resolved.result for resolved in run.of(ApprovalResolved)] == ["applied"]
    (diff,) = run.of(DiffReady)
    assert [(file.path, file.status, file.additions) for file in diff.files] == [("notes.txt", "added", 1)]
    (started,) = run.of(RunStarted)
    assert started.preset == peer.preset
    assert started.runtime_version
    assert run.of(ValidationFailed) == []
    assert run.alive() == []


async def test_a_rejected_edit_leaves_nothing_in_the_diff(start: Start) -> None:
    run = await start("Please [[write notes.txt hello there]]")
    await run.answer("reject_once")
    assert isinstance(await run.ended(), RunCompleted)
    assert [diff.files for diff in run.of(DiffReady)] == [[]]
    assert len(run.of(ToolFailed)) == 1


async def test_a_cancel_in_a_command_leaves_no_process(start: Start) -> None:
    """Codex lets its command go on when a turn is cancelled; the supervisor does not."""
    run = await start("Please [[shell touch begun; sleep 600]]")
    await run.answer("allow_once")
    await run.until((run.workspace / "begun").exists)
    await run.cancel()
    assert isinstance(await run.ended(), RunCancelled)
    assert run.alive() == []


async def test_a_cancel_withdraws_the_question(start: Start) -> None:
    run = await start("Please [[write notes.txt hello]]")
    await run.question()
    await run.cancel()
    assert isinstance(await run.ended(), RunCancelled)
    assert [resolved.result for resolved in run.of(ApprovalResolved)] == ["superseded"]
    assert not (run.workspace / "notes.txt").exists()


async def test_a_model_that_hangs_is_a_stalled_run_that_can_be_cancelled(start: Start) -> None:
    run = await start("[[hang]]", stall_seconds=2.0)
    await run.until(lambda: Reason.STALLED in [change.reason for change in run.of(StateChanged)])
    await run.cancel()
    assert isinstance(await run.ended(), RunCancelled)
    assert run.alive() == []


async def test_an_agent_killed_in_a_command_fails_the_run_and_leaves_nothing(start: Start) -> None:
    run = await start("Please [[shell touch begun; sleep 600]]")
    await run.answer("allow_once")
    await run.until((run.workspace / "begun").exists)
    os.kill(run.agent_pid(), signal.SIGKILL)
    ending = await run.failed()
    assert (ending.reason, ending.signal) == (Reason.AGENT_KILLED, signal.SIGKILL)
    assert ending.may_resume
    assert run.alive() == []


async def test_a_second_prompt_goes_to_the_same_session(start: Start) -> None:
    run = await start("[[say first]]", keep_open=True)
    await run.until(lambda: "first" in run.said())
    await run.input("[[say second]]")
    await run.until(lambda: "second" in run.said())
    await run.cancel()
    await run.ended()
    assert len({started.session_id for started in run.of(RunStarted)}) == 1
