"""F4: the agent's process is killed, or exits, in the middle of its work: the cause is said, nothing is left."""

import os
import signal

import pytest

from nodes.contract.events import ApprovalResolved, ToolFailed, TurnCompleted
from nodes.contract.reasons import Reason
from tests.fakes.supervised import SupervisedRun


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_an_agent_ended_by_a_signal_fails_the_run_with_it(supervised: SupervisedRun, number: int) -> None:
    supervised.start("@say working. @delay 600")
    await supervised.until(lambda: "working" in supervised.said())
    os.kill(supervised.agent_pid(), number)
    ending = await supervised.failed()
    assert (ending.reason, ending.signal, ending.exit_code) == (Reason.AGENT_KILLED, number, None)
    assert "working" in supervised.said()
    assert supervised.alive() == []


async def test_an_agent_that_exits_in_mid_turn_fails_the_run_with_its_status(supervised: SupervisedRun) -> None:
    supervised.start("@say working @exit 7")
    ending = await supervised.failed()
    assert (ending.reason, ending.exit_code, ending.signal) == (Reason.AGENT_EXITED, 7, None)


async def test_an_agent_that_exits_in_mid_turn_with_zero_has_not_succeeded(supervised: SupervisedRun) -> None:
    supervised.start("@say working @exit 0")
    ending = await supervised.failed()
    assert (ending.reason, ending.exit_code) == (Reason.AGENT_EXITED, 0)
    assert supervised.of(TurnCompleted) == []


async def test_an_agent_killed_in_a_tool_takes_its_tool_with_it(supervised: SupervisedRun) -> None:
    supervised.start("@no-ask @shell touch begun; sleep 600")
    await supervised.until((supervised.workspace / "begun").exists)
    os.kill(supervised.agent_pid(), signal.SIGKILL)
    assert (await supervised.failed()).reason == Reason.AGENT_KILLED
    assert [call.unfinished for call in supervised.of(ToolFailed)] == [True]
    assert supervised.alive() == []


async def test_an_agent_killed_while_it_asks_withdraws_its_question(supervised: SupervisedRun) -> None:
    supervised.start("@write notes.md hello")
    await supervised.question()
    os.kill(supervised.agent_pid(), signal.SIGKILL)
    assert (await supervised.failed()).reason == Reason.AGENT_KILLED
    (resolved,) = supervised.of(ApprovalResolved)
    assert (resolved.result, resolved.outcome) == ("superseded", "cancelled")


async def test_an_agent_killed_while_it_waits_for_input_is_said_too(supervised: SupervisedRun) -> None:
    supervised.start("@say hello", keep_open=True)
    await supervised.until(lambda: supervised.of(TurnCompleted))
    os.kill(supervised.agent_pid(), signal.SIGKILL)
    ending = await supervised.failed()
    assert ending.signal == signal.SIGKILL


async def test_an_agent_that_can_take_up_its_session_again_offers_it(supervised: SupervisedRun) -> None:
    supervised.start("@crash")
    assert (await supervised.failed()).may_resume
