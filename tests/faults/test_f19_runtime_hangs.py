"""F19: a runtime hangs, ignores SIGTERM, double-forks, calls setsid: it is said, and cancel leaves no process."""

import pytest

from nodes.contract.events import RunCancelled, RunCompleted, StateChanged, ToolFailed
from nodes.contract.reasons import Reason
from tests.fakes.supervised import SupervisedRun, scripted


def reasons(run: SupervisedRun) -> list[str]:
    return [change.reason for change in run.of(StateChanged)]


async def test_a_silent_agent_is_said_to_be_stalled_and_to_be_back(supervised: SupervisedRun) -> None:
    supervised.start("@say one @delay 1.5 @say two", stall_seconds=0.3)
    assert isinstance(await supervised.ended(), RunCompleted)
    assert reasons(supervised) == [Reason.STALLED, Reason.NONE]


async def test_an_agent_deaf_to_everything_is_killed_by_a_cancel(supervised: SupervisedRun) -> None:
    supervised.start("@say deaf. @hang")
    await supervised.until(lambda: "deaf" in supervised.said())
    await supervised.cancel()
    assert isinstance(await supervised.ended(), RunCancelled)
    assert supervised.alive() == []


async def test_what_an_agent_detached_goes_with_a_cancel(supervised: SupervisedRun) -> None:
    supervised.start("@fork 600 @fork 600 @hang")
    await supervised.until(lambda: supervised.said().count("left behind") == 2)
    assert len(supervised.alive()) == 3
    await supervised.cancel()
    assert isinstance(await supervised.ended(), RunCancelled)
    assert supervised.alive() == []


async def test_what_an_agent_detached_goes_with_a_plain_end_too(supervised: SupervisedRun) -> None:
    supervised.start("@fork 600 @say done")
    assert isinstance(await supervised.ended(), RunCompleted)
    assert supervised.alive() == []


async def test_an_exit_is_seen_though_what_was_detached_holds_the_pipe(supervised: SupervisedRun) -> None:
    supervised.start("@fork 600 @exit 5")
    ending = await supervised.failed(30)
    assert (ending.reason, ending.exit_code) == (Reason.AGENT_EXITED, 5)
    assert supervised.alive() == []


async def test_an_agent_that_closes_its_pipe_and_lives_on_fails_the_run(supervised: SupervisedRun) -> None:
    supervised.start("@say bye @close")
    assert (await supervised.failed()).reason == Reason.PROTOCOL_ERROR
    assert supervised.alive() == []


async def test_a_command_under_way_ends_with_a_cancelled_turn(supervised: SupervisedRun) -> None:
    supervised.start("@no-ask @shell touch begun; setsid sleep 600 & sleep 600")
    await supervised.until((supervised.workspace / "begun").exists)
    await supervised.cancel()
    assert isinstance(await supervised.ended(), RunCancelled)
    assert [call.unfinished for call in supervised.of(ToolFailed)] == [True]
    assert supervised.alive() == []


async def test_a_turn_that_takes_too_long_is_ended(supervised: SupervisedRun) -> None:
    supervised.start("@say deaf. @hang", turn_seconds=1.0)
    ending = await supervised.failed()
    assert ending.reason == Reason.TURN_TIMEOUT
    assert supervised.alive() == []


@pytest.mark.parametrize("cancelled", [True, False])
async def test_an_agent_that_never_becomes_ready_is_ended(supervised: SupervisedRun, cancelled: bool) -> None:
    supervised.start("hello", scripted("--slow", "600"), start_seconds=60 if cancelled else 1)
    await supervised.until(supervised.alive)
    if cancelled:
        await supervised.cancel()
        assert isinstance(await supervised.ended(), RunCancelled)
    else:
        assert (await supervised.failed()).reason == Reason.START_TIMEOUT
    assert supervised.alive() == []
