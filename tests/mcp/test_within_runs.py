"""Tools that an agent calls from within its runs: what is whose, and what becomes of a call that is asked twice."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from agenthub_site.mcp_door import McpDoor
from agents.coordination.models import Handoff, Lock, Round
from agents.coordination.services.rounds import approve_round
from agents.mail.acting import acting_in_run
from agents.models import Run
from integrations.mcp.tool import all_tools
from mailboxes.models import Delivery, Message
from mailboxes.services import Address, send
from tests.coordination.conftest import Crew
from tests.factories import make_agent, make_node, make_run

pytestmark = pytest.mark.django_db(transaction=True)
Use = Callable[..., Awaitable[dict[str, Any]]]
SYSTEM = Address("system", "system")


@pytest.fixture
async def use() -> AsyncIterator[Use]:
    """Calls a tool from within a run, as its node passes it on."""
    door = McpDoor()

    async def call(run: Run, tool: str, key: str = "", **arguments: Any) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        body = {"version": "2025-11-25", "message": message} | ({"key": key} if key else {})
        by = await sync_to_async(acting_in_run)(run.node_id or run.pk, run.pk)
        told = await door.answer_in_run(by, run.pk, json.dumps(body).encode())
        said: dict[str, Any] = json.loads(told["message"]["result"]["structuredContent"]["result"])
        return said

    yield call
    await door.stop()


@pytest.fixture
def runs(crew: Crew) -> list[Run]:
    """Two live ones of one agent."""
    agent = make_agent("twin", project=crew.project, node=make_node("bergen"))
    return [make_run(agent=agent), make_run(agent=agent)]


async def test_a_run_leaves_the_mail_of_the_agents_other_runs_alone(use: Use, runs: list[Run], crew: Crew) -> None:
    first, second = runs
    me = Address.of("agent", first.agent_id)
    sent = await sync_to_async(send)(crew.project.pk, SYSTEM, [me], "Yours", run_id=second.pk)
    await sync_to_async(send)(crew.project.pk, SYSTEM, [me], "Anybody's")
    assert [row["body"] for row in (await use(first, "inbox_pull"))["messages"]] == ["Anybody's"]
    assert (await use(first, "message_ack", message_id=str(sent.message_id)))["error"] == "NOT_FOUND"
    assert len((await use(second, "inbox_pull"))["messages"]) == 2
    assert (await use(second, "message_ack", message_id=str(sent.message_id)))["changed"]


async def test_what_a_run_sends_belongs_to_it_and_an_answer_to_what_it_answers(use: Use, runs: list[Run]) -> None:
    first, second = runs
    said = await use(first, "message_send", to_agent="ada", subject="Nets", body="Torn")
    sent = await Message.objects.aget(pk=said["message_id"])
    assert sent.run_id == first.pk
    said = await use(second, "message_send", to_agent="ada", subject="Re", body="Yes", reply_to=str(sent.pk))
    assert (await Message.objects.aget(pk=said["message_id"])).run_id == first.pk


async def test_every_tool_that_writes_does_so_once_when_it_is_asked_twice(
    use: Use, runs: list[Run], crew: Crew
) -> None:
    """A link that is lost between commit and answer: the node asks again, with the key of the first time."""
    run, used = runs[0], set()

    async def twice(tool: str, **arguments: Any) -> dict[str, Any]:
        used.add(tool)
        key = f"key-{len(used)}-{tool}"
        first = await use(run, tool, key, **arguments)
        again = await use(run, tool, key, **arguments)
        assert first["ok"] and again == first, (tool, first, again)
        return first

    await twice("agent_register", name="Twin")
    await twice("agent_heartbeat")
    sent = await twice("message_send", to_agent="twin", subject="Nets", body="Torn")
    assert await Message.objects.acount() == 1
    (held,) = (await use(run, "inbox_pull"))["messages"]
    assert held["dedupe_key"].startswith("key-")  # by which its sender may send it again later
    assert (await twice("message_ack", message_id=sent["message_id"]))["changed"]

    await twice("task_draft_create", task_id="T-1", title="Nets")
    plan = json.dumps({"assignments": [{"agent_id": "twin", "goal": "Mend them"}]})
    planned = await twice("round_plan_submit", task_id="T-1", plan_json=plan)
    await sync_to_async(approve_round)(await Round.objects.aget(), by=crew.operator)
    (mine,) = (await use(run, "assignment_list"))["assignments"]
    assert (await twice("assignment_claim", assignment_id=mine["id"]))["assignment"]["status"] == "claimed"
    await twice("assignment_progress", assignment_id=mine["id"], status="in_progress", note="Half way")
    done = await twice("assignment_complete", assignment_id=mine["id"], handoff_json='{"branch": "nets"}')
    assert done["assignment"]["handoff_id"] == str((await Handoff.objects.aget()).pk)
    assert (await twice("review_submit", round_id=planned["round_id"], verdict="approved"))["status"] == "completed"

    taken = await twice("lock_acquire", lock_key="branch:main")
    assert taken["lock"]["fencing_number"] == 1
    await twice("lock_release", lock_key="branch:main")
    assert (await use(run, "lock_acquire", "another", lock_key="branch:main"))["lock"]["fencing_number"] == 2
    assert used == {tool.name for tool in all_tools() if not tool.is_reading and not tool.needs.startswith("hub:")}


async def test_of_two_that_ask_at_once_with_one_key_both_get_the_same_lock(use: Use, runs: list[Run]) -> None:
    asked = [use(runs[0], "lock_acquire", "k", lock_key="branch:main") for _ in range(4)]
    told = await asyncio.gather(*asked)
    assert {each["lock"]["fencing_number"] for each in told} == {1}
    other = await use(runs[0], "lock_acquire", "other", lock_key="branch:main")
    assert other["error"] == "LOCK_CONFLICT"
    assert (await Lock.objects.aget()).fencing_number == 1


async def test_a_key_is_one_call_and_what_was_refused_may_be_asked_again(use: Use, runs: list[Run]) -> None:
    run = runs[0]
    assert (await use(run, "message_send", "k", to_agent="nobody", subject="x", body="x"))["error"] == "NOT_FOUND"
    assert (await use(run, "message_send", "k", to_agent="ada", subject="x", body="x"))["ok"]
    other = await use(run, "message_send", "k", to_agent="ada", subject="x", body="y")
    assert other["error"] == "IDEMPOTENCY_CONFLICT"
    assert await Delivery.objects.acount() == 1
