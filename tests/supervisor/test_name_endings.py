"""Which reason a run's end is given."""

import pytest

from nodes.contract.events import RunCompleted, RunFailed
from nodes.contract.reasons import Reason
from nodes.contract.runtime import TurnEnd
from nodes.server.endings import Ending, Exit, by_turn, failed, payloads


def last(ending: Ending, exit_: Exit) -> RunFailed:
    said = payloads(ending, exit_, "demo", may_resume=True)[-1]
    assert isinstance(said, RunFailed)
    return said


def test_a_kill_with_the_kernels_count_risen_is_want_of_memory() -> None:
    ended = last(by_turn(TurnEnd("exited", is_failure=True), Exit(-9)), Exit(-9, was_out_of_memory=True))
    assert (ended.reason, ended.signal, ended.may_resume) == ("out_of_memory", 9, True)


def test_want_of_memory_explains_no_other_reason_away() -> None:
    assert last(failed(Reason.DISK_FULL, "full"), Exit(-9, was_out_of_memory=True)).reason == "disk_full"


@pytest.mark.parametrize(("stop_reason", "reason"), [("refusal", "refused"), ("max_tokens", "agent_failed")])
def test_a_failed_turn_of_a_living_agent_says_why(stop_reason: str, reason: str) -> None:
    assert last(by_turn(TurnEnd(stop_reason, is_failure=True), Exit()), Exit()).reason == reason


def test_a_good_turn_is_a_completed_run() -> None:
    said = payloads(by_turn(TurnEnd("end_turn"), Exit(0)), Exit(0), "demo", may_resume=False)
    assert said == [RunCompleted(stop_reason="end_turn", exit_code=0)]


def test_a_runtime_that_is_not_there_is_said_before_the_ending() -> None:
    said = payloads(failed(Reason.RUNTIME_NOT_INSTALLED, "no"), Exit(), "demo", may_resume=False)
    assert [payload.TYPE for payload in said] == ["runtime.unavailable", "run.failed"]
