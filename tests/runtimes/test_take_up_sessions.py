"""A later process of a runtime goes on in the session of an earlier one, if it can."""

from nodes.contract.events import MessageCompleted
from tests.runtimes.conftest import Start


async def test_a_session_is_taken_up_and_not_told_again(start: Start) -> None:
    first, host = await start()
    await first.prompt("@say hello")
    session = host.info.session_id
    second, host = await start(session=session)
    assert (host.info.session_id, host.info.has_resumed, host.info.may_resume) == (session, True, True)
    assert host.events == []
    await second.prompt("@recall")
    assert [message.text for message in host.of(MessageCompleted)] == ["I remember: @say hello."]


async def test_a_session_that_is_gone_is_replaced(start: Start) -> None:
    runtime, host = await start(session="scripted-0000000000000000")
    assert host.info.session_id and not host.info.has_resumed
    await runtime.prompt("@recall")
    assert host.said() == "I remember: nothing."
