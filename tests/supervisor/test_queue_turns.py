"""The line of a run's inputs: once each, in order, and none that nobody would hear."""

from nodes.server.turns import WAITING_INPUTS, Input, TurnQueue


def test_a_repeat_is_the_same_input_and_the_line_has_an_end() -> None:
    queue = TurnQueue(Input("a", "first"))
    assert queue.add(Input("a", "first"), "queue") == ""
    codes = [queue.add(Input(str(number), "more"), "queue") for number in range(WAITING_INPUTS)]
    assert codes == [""] * (WAITING_INPUTS - 1) + ["too_many_inputs"]


async def test_what_comes_while_the_run_closes_is_refused_and_what_was_taken_stays_so() -> None:
    queue = TurnQueue(Input("a", "first"))
    assert (await queue.next()).id == "a"
    queue.close()
    assert queue.add(Input("b", "late"), "interrupt") == "run_ended"
    assert queue.add(Input("a", "first"), "queue") == ""
    assert queue.is_empty and not queue.interruption.is_set()
