"""A turn of an ACP agent, as events."""

import asyncio

import pytest

from nodes.contract.events import (
    MessageCompleted,
    MessageDelta,
    PlanUpdated,
    ToolCall,
    ToolFailed,
    ToolResult,
    Usage,
    ValidationFailed,
)  # fmt: skip
from nodes.contract.policy import ActionKind
from nodes.contract.reasons import Reason
from nodes.contract.runtime import RuntimeFailed, TurnEnd
from tests.fakes.small_host import reject
from tests.runtimes.conftest import Start
from tests.support import eventually_async


async def test_a_plain_prompt_ends_by_itself_and_asks_nothing(start: Start) -> None:
    runtime, host = await start()
    (host.workspace / "README.md").write_text("# Oslo\n")
    end = await runtime.prompt("hello")
    assert end == TurnEnd("end_turn")
    assert host.questions == []
    assert "begins with “Oslo”" in host.said()
    assert [call.title for call in host.of(ToolResult)] == ["Read README.md"]


async def test_a_message_has_one_id_and_is_repeated_whole_at_its_end(start: Start) -> None:
    runtime, host = await start()
    await runtime.prompt("@say one two three four five six seven @plan @say second message")
    first, second = host.of(MessageCompleted)
    deltas = [delta.text for delta in host.of(MessageDelta) if delta.message_id == first.message_id]
    assert len(deltas) == 3
    assert first.text == "".join(deltas)
    assert (first.message_id, second.message_id) == ("m1", "m2")


async def test_messages_of_later_turns_have_other_ids(start: Start) -> None:
    runtime, host = await start()
    await runtime.prompt("@say hello")
    await runtime.prompt("@say again")
    assert [message.message_id for message in host.of(MessageCompleted)] == ["m1", "m2"]


async def test_a_plan_replaces_the_one_before(start: Start) -> None:
    runtime, host = await start()
    await runtime.prompt("@plan look, answer")
    (plan,) = host.of(PlanUpdated)
    assert [(entry.content, entry.status) for entry in plan.entries] == [("look", "in_progress"), ("answer", "pending")]


async def test_an_allowed_write_is_asked_once_and_done(start: Start) -> None:
    runtime, host = await start()
    await runtime.prompt("@write notes/one.md hello")
    (question,) = host.questions
    assert question.kind is ActionKind.WRITE
    assert question.paths == ["notes/one.md"]
    assert [option.kind for option in question.options] == ["allow_once", "allow_always", "reject_once"]
    assert question.content[0].new_text == "hello\n"
    assert (host.workspace / "notes/one.md").read_text() == "hello\n"
    assert [call.tool_call_id for call in host.of(ToolResult)] == [question.tool_call_id]


async def test_a_rejected_write_fails_its_call_and_the_turn_goes_on(start: Start) -> None:
    runtime, host = await start(rule=reject)
    end = await runtime.prompt("@write one.md hello @say still here")
    assert end == TurnEnd("end_turn")
    assert not (host.workspace / "one.md").exists()
    assert [call.unfinished for call in host.of(ToolFailed)] == [False]
    assert host.said() == "still here"


async def test_an_answer_outside_the_options_counts_as_cancelled(start: Start) -> None:
    runtime, host = await start(rule=lambda question: None)
    await runtime.prompt("@ask write")
    assert host.said() == "The answer was cancelled."


async def test_the_hashed_action_holds_what_is_done_and_changes_with_it(start: Start) -> None:
    runtime, host = await start()
    await runtime.prompt("@shell echo one @shell echo two")
    first, second = host.questions
    assert first.kind is ActionKind.READ  # an echo, whatever it is called
    assert first.command == "echo one"
    assert "echo one" in first.action
    assert first.action != second.action


async def test_calls_left_open_are_closed_as_unfinished(start: Start) -> None:
    runtime, host = await start()
    await runtime.prompt("@unfinished @say done")
    assert {call.tool_call_id for call in host.of(ToolCall)} == {"call-1", "never-began"}
    assert [(call.tool_call_id, call.unfinished) for call in host.of(ToolFailed)] == [
        ("call-1", True),
        ("never-began", True),
    ]


async def test_usage_tells_what_is_known(start: Start) -> None:
    runtime, host = await start()
    await runtime.prompt("@usage 1200")
    (usage,) = host.of(Usage)
    assert (usage.context_used, usage.context_size, usage.currency) == (1200, 200_000, "USD")


@pytest.mark.parametrize(
    ("prompt", "stop_reason"), [("@error the model is away", "error"), ("@refuse", "refusal"), ("@nothing", "end_turn")]
)
async def test_a_turn_that_did_nothing_useful_is_a_failure(start: Start, prompt: str, stop_reason: str) -> None:
    runtime, _ = await start()
    end = await runtime.prompt(prompt)
    assert (end.stop_reason, end.is_failure) == (stop_reason, True)
    assert end.message


async def test_an_agent_without_login_says_what_to_do(start: Start) -> None:
    with pytest.raises(RuntimeFailed, match="not logged in on this node") as caught:
        await start("--login-required")
    assert caught.value.reason is Reason.LOGIN_REQUIRED


async def test_a_login_that_ran_out_in_mid_turn_is_told_apart(start: Start) -> None:
    runtime, _ = await start()
    with pytest.raises(RuntimeFailed) as caught:
        await runtime.prompt("@login")
    assert caught.value.reason is Reason.LOGIN_REQUIRED


async def test_a_model_that_is_not_offered_is_refused(start: Start) -> None:
    with pytest.raises(RuntimeFailed, match="offers no choice of model"):
        await start(model="gpt-0")


async def test_interrupting_cancels_the_open_question_and_the_turn(start: Start) -> None:
    runtime, host = await start()
    host.never_answers = True
    turn = asyncio.create_task(runtime.prompt("@write one.md"))
    await eventually_async(lambda: host.questions)
    await runtime.interrupt()
    assert await turn == TurnEnd("cancelled")
    assert host.cancelled_questions == 1
    assert not (host.workspace / "one.md").exists()


async def test_after_an_interrupt_the_next_turn_may_ask_again(start: Start) -> None:
    runtime, host = await start()
    turn = asyncio.create_task(runtime.prompt("@say x @delay 60"))
    await eventually_async(host.said)
    await runtime.interrupt()
    assert (await turn).stop_reason == "cancelled"
    await runtime.prompt("@ask shell")
    assert "allow_once" in host.said()


async def test_interrupting_between_turns_does_nothing(start: Start) -> None:
    runtime, host = await start()
    await runtime.interrupt()
    assert (await runtime.prompt("@say hello")).stop_reason == "end_turn"
    assert host.of(ValidationFailed) == []


async def test_allowing_always_is_the_agents_own_memory(start: Start) -> None:
    runtime, host = await start(rule=lambda question: "allow_always")
    await runtime.prompt("@write one.md @write two.md")
    assert len(host.questions) == 1
    assert (host.workspace / "two.md").exists()
