"""Agents that die, hang on to their pipes, or write what they should not."""

import asyncio

import pytest

from nodes.contract.events import MessageCompleted, ValidationFailed
from nodes.contract.reasons import Reason
from nodes.contract.runtime import RuntimeFailed
from tests.runtimes.conftest import Start
from tests.support import eventually_async


@pytest.mark.parametrize(
    ("prompt", "reason", "said"),
    [
        ("@say a @exit 3", Reason.AGENT_EXITED, "status 3"),
        ("@say a @crash", Reason.AGENT_KILLED, "signal 9"),
        ("@say a @close", Reason.PROTOCOL_ERROR, "closed its output"),
    ],
)
async def test_an_agent_that_is_gone_fails_the_turn(start: Start, prompt: str, reason: Reason, said: str) -> None:
    runtime, host = await start()
    with pytest.raises(RuntimeFailed, match=said) as caught:
        await runtime.prompt(prompt)
    assert caught.value.reason is reason
    assert host.said() == "a"


async def test_an_exit_is_seen_though_a_child_holds_the_pipe(start: Start) -> None:
    runtime, host = await start()
    with pytest.raises(RuntimeFailed, match="status 0"):
        await runtime.prompt("@fork @exit 0")
    assert host.left_behind()


async def test_an_agent_killed_while_it_asks_ends_the_question(start: Start) -> None:
    runtime, host = await start()
    host.never_answers = True
    turn = asyncio.create_task(runtime.prompt("@ask shell"))
    await eventually_async(lambda: host.questions)
    assert host.process
    host.process.popen.kill()
    with pytest.raises(RuntimeFailed, match="signal 9"):
        await turn
    await runtime.close()
    assert host.cancelled_questions == 1


async def test_an_agent_that_exits_at_once_is_no_agent(start: Start) -> None:
    with pytest.raises(RuntimeFailed, match="status 2 before it was ready") as caught:
        await start("--no-such-option")
    assert caught.value.reason is Reason.AGENT_EXITED


async def test_closing_an_idle_agent_lets_it_leave(start: Start) -> None:
    runtime, host = await start()
    await runtime.prompt("@say hello")
    await runtime.close()
    assert host.process
    assert await host.process.exited == 0
    assert host.left_behind() == []


async def test_garbage_is_reported_and_the_turn_goes_on(start: Start) -> None:
    runtime, host = await start()
    end = await runtime.prompt("@garbage @say still here")
    assert end.stop_reason == "end_turn"
    errors = [event.error for event in host.of(ValidationFailed)]
    assert [error.partition(":")[0] for error in errors] == [
        "A line that is not JSON",
        "Invalid UTF-8 at byte 53 of a line; it was replaced",
        "session/update does not fit",
        "A line that is JSON, but no object",
        "An id that is neither text nor number",
        "An unknown notification",
        "An unknown request",
        "session/update does not fit",
        "session/update does not fit",
    ]
    assert host.of(MessageCompleted)[-1].text.endswith("still here")


async def test_half_an_emoji_is_replaced(start: Start) -> None:
    runtime, host = await start()
    await runtime.prompt("@garbage")
    assert "half a pair: \ufffd, and" in host.said()


async def test_a_line_of_50_mib_is_dropped_and_said_to_be(start: Start) -> None:
    runtime, host = await start()
    end = await runtime.prompt("@longline 50 @say still here")
    assert end.stop_reason == "end_turn"
    (fault,) = host.of(ValidationFailed)
    assert fault.dropped_bytes == 50 * 1024 * 1024
    assert len(fault.excerpt) <= 2000
    assert host.said() == "still here"


async def test_a_message_of_10_mib_comes_through_and_its_completion_is_cut(start: Start) -> None:
    runtime, host = await start()
    await runtime.prompt("@output 10000000")
    (message,) = host.of(MessageCompleted)
    assert len(host.said()) == 10_000_000
    assert message.truncated
    assert len(message.text) <= 48_000
