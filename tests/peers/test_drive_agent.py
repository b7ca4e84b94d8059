"""Real agents through the ``acp`` adapter: what it was made to cope with."""

import asyncio
import os
import signal
from typing import Any

import pytest

from nodes.contract.events import MessageCompleted, ToolFailed, ToolResult, Usage, ValidationFailed
from nodes.contract.policy import ActionKind
from nodes.contract.reasons import Reason
from nodes.contract.runtime import RuntimeFailed, TurnEnd
from tests.fakes.small_host import reject
from tests.peers.conftest import Driven
from tests.support import eventually_async

pytestmark = pytest.mark.timeout(180)
TURN_SECONDS = 60.0


async def take_turn(driven: Driven, prompt: str) -> TurnEnd:
    return await asyncio.wait_for(driven.runtime.prompt(prompt), TURN_SECONDS)


async def test_a_message_is_streamed_and_completed(driven: Driven) -> None:
    assert await take_turn(driven, "[[say Hello from the model.]]") == TurnEnd("end_turn")
    assert "Hello from the model." in driven.host.of(MessageCompleted)[-1].text
    assert driven.host.of(Usage)[-1].total_tokens
    assert driven.host.of(ValidationFailed) == []


async def test_an_allowed_edit_is_asked_and_written(driven: Driven) -> None:
    assert await take_turn(driven, "Please [[write notes.txt hello there]]") == TurnEnd("end_turn")
    (question,) = driven.host.questions
    assert (question.kind, question.paths) == (ActionKind.WRITE, ["notes.txt"])
    assert {"allow_once", "reject_once"} <= {option.kind for option in question.options}
    assert any("hello there" in (item.new_text or item.text) for item in question.content)
    assert (driven.host.workspace / "notes.txt").read_text() == "hello there\n"
    assert question.tool_call_id in {call.tool_call_id for call in driven.host.of(ToolResult)}


async def test_a_rejected_edit_writes_nothing_and_ends_its_call(driven: Driven) -> None:
    driven.host.rule = reject
    end = await take_turn(driven, "Please [[write notes.txt hello there]]")
    assert not end.is_failure
    assert end.stop_reason == driven.peer.stop_after_reject
    assert not (driven.host.workspace / "notes.txt").exists()
    assert [call.tool_call_id for call in driven.host.of(ToolFailed)] == [driven.host.questions[0].tool_call_id]
    assert driven.host.of(ToolResult) == []
    assert ("All done." in driven.host.said()) == driven.peer.goes_on_after_reject


async def test_an_allowed_command_shows_its_output(driven: Driven) -> None:
    command = "touch seen; echo shown by the command"  # a bare echo is harmless to Claude Code, which then asks nothing
    await take_turn(driven, f"Please [[shell {command}]]")
    (question,) = driven.host.questions
    assert (question.kind, question.command) == (ActionKind.WRITE, command)  # what it comes to
    (result,) = driven.host.of(ToolResult)
    assert "shown by the command" in result.output


async def test_two_turns_belong_to_one_session(driven: Driven) -> None:
    await take_turn(driven, "[[say first]]")
    await take_turn(driven, "[[say second]]")
    assert any("first" in str(body) and "second" in str(body) for body in driven.model.bodies)


async def test_a_stream_is_cancelled_in_its_middle(driven: Driven) -> None:
    turn = asyncio.create_task(driven.runtime.prompt("[[slow 1000]]"))
    await eventually_async(lambda: "word3" in driven.host.said(), TURN_SECONDS)
    await driven.runtime.interrupt()
    assert await asyncio.wait_for(turn, TURN_SECONDS) == TurnEnd("cancelled")
    assert (await take_turn(driven, "[[say still here]]")).stop_reason == "end_turn"
    assert "still here" in driven.host.said()


async def test_a_question_is_cancelled_with_its_turn(driven: Driven) -> None:
    driven.host.never_answers = True
    turn = asyncio.create_task(driven.runtime.prompt("Please [[write notes.txt hello]]"))
    await eventually_async(lambda: driven.host.questions, TURN_SECONDS)
    await driven.runtime.interrupt()
    assert await asyncio.wait_for(turn, TURN_SECONDS) == TurnEnd("cancelled")
    assert driven.host.cancelled_questions == 1
    assert not (driven.host.workspace / "notes.txt").exists()


async def test_a_command_under_way_does_not_hold_up_a_cancel(driven: Driven) -> None:
    turn = asyncio.create_task(driven.runtime.prompt("Please [[shell touch begun; sleep 300]]"))
    await eventually_async((driven.host.workspace / "begun").exists, TURN_SECONDS)
    await driven.runtime.interrupt()
    assert await asyncio.wait_for(turn, TURN_SECONDS) == TurnEnd("cancelled")


async def test_a_model_that_hangs_can_be_cancelled(driven: Driven) -> None:
    turn = asyncio.create_task(driven.runtime.prompt("[[hang]]"))
    await eventually_async(lambda: any(step.kind == "hang" for _, step in driven.model.calls), TURN_SECONDS)
    await driven.runtime.interrupt()
    assert await asyncio.wait_for(turn, TURN_SECONDS) == TurnEnd("cancelled")


async def test_an_agent_killed_in_a_tool_fails_the_turn_at_once(driven: Driven) -> None:
    turn: asyncio.Task[Any] = asyncio.create_task(driven.runtime.prompt("Please [[shell touch begun; sleep 300]]"))
    await eventually_async((driven.host.workspace / "begun").exists, TURN_SECONDS)
    assert driven.host.process
    os.kill(driven.host.process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeFailed, match="signal 9 in the middle of a turn") as caught:
        await asyncio.wait_for(turn, TURN_SECONDS)
    assert caught.value.reason is Reason.AGENT_KILLED


async def test_a_model_that_refuses_is_told(driven: Driven) -> None:
    """Only Claude Code reports it as an error; the others say it in a message, or not at all."""
    end = await take_turn(driven, "[[error]]")
    assert end.is_failure or "no model today" in driven.host.said()
