"""F18: a runtime writes garbage, a 50 MB line, invalid UTF-8, an unknown method: it is said, and the run goes on."""

from nodes.contract.events import MessageCompleted, RunCompleted, ValidationFailed
from nodes.contract.reasons import Reason
from tests.fakes.supervised import SupervisedRun, scripted

MIB = 1024 * 1024


def memory_peak(pid: int) -> int:
    """The most a process ever held, in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


async def test_garbage_of_all_kinds_is_said_and_the_run_completes(supervised: SupervisedRun) -> None:
    supervised.start("@garbage @say still here")
    assert isinstance(await supervised.ended(), RunCompleted)
    faults = supervised.of(ValidationFailed)
    assert len(faults) == 9
    assert all(fault.error and len(fault.excerpt) <= 2_000 for fault in faults)
    assert supervised.of(MessageCompleted)[-1].text.endswith("still here")


async def test_a_zero_and_half_a_pair_are_replaced_before_the_spool(supervised: SupervisedRun) -> None:
    supervised.start("@garbage")
    await supervised.ended()
    assert "half a pair: \ufffd, and a zero: \ufffd" in supervised.said()


async def test_a_line_of_50_mib_is_dropped_without_being_held(supervised: SupervisedRun) -> None:
    supervised.start("@say before @longline 50 @say after", keep_open=True)
    await supervised.until(lambda: "after" in supervised.said())
    (fault,) = supervised.of(ValidationFailed)
    assert fault.dropped_bytes == 50 * MIB
    assert supervised.process
    peak = memory_peak(supervised.process.pid)
    await supervised.cancel()
    await supervised.ended()
    assert peak < 160 * MIB


async def test_a_flood_of_noise_does_not_flood_the_stream(supervised: SupervisedRun) -> None:
    supervised.start("@say on", scripted(), keep_open=True)
    await supervised.until(lambda: "on" in supervised.said())
    await supervised.input("@no-ask " + "@garbage " * 500 + "@say done")
    await supervised.until(lambda: "done" in supervised.said())
    assert len(supervised.of(ValidationFailed)) < 100
    await supervised.cancel()
    await supervised.ended()


async def test_a_message_of_10_mib_is_a_run_that_completes(supervised: SupervisedRun) -> None:
    supervised.start(f"@output {10 * MIB}")
    assert isinstance(await supervised.ended(), RunCompleted)
    assert len(supervised.said()) == 10 * MIB


async def test_a_program_that_is_no_agent_ends_the_run_cleanly(supervised: SupervisedRun) -> None:
    command = ["/bin/sh", "-c", "echo I am no agent; exit 3"]
    supervised.start("hello", scripted().model_copy(update={"command": command}))
    ending = await supervised.failed()
    assert (ending.reason, ending.exit_code) == (Reason.AGENT_EXITED, 3)
    assert supervised.of(ValidationFailed)[0].excerpt == "I am no agent"


async def test_an_answer_that_is_not_acp_ends_the_run_cleanly(supervised: SupervisedRun) -> None:
    script = """read line; echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"soon"}}'; sleep 600"""
    supervised.start("hello", scripted().model_copy(update={"command": ["/bin/sh", "-c", script]}))
    ending = await supervised.failed()
    assert ending.reason == Reason.PROTOCOL_ERROR
    assert supervised.alive() == []
