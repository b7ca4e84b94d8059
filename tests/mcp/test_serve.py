"""The official client, in both eras, against the whole application over a socket."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from agenthub_site import asgi, mcp_door
from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Token
from agenthub_site.engines import UvicornEngine
from agents.coordination.models import Round
from agents.coordination.services.rounds import approve_round
from tests.coordination.conftest import Crew
from tests.factories import make_token

pytestmark = pytest.mark.django_db(transaction=True)
OLD, NEW = "2025-11-25", "2026-07-28"


def token_of(crew: Crew, name: str, **fields: Any) -> str:
    secret = f"token-of-{name}-{len(fields)}-0123456789"
    agent = crew.agent(name)
    Token.objects.create(
        agent_id=agent.pk, agent_label=f"harbour/{name}", project=crew.project, name=secret, hint="x",
        digest=Token.digest_of(secret), **fields,
    )  # fmt: skip
    return secret


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    """The address of the application, served by this test's own loop."""
    engine = UvicornEngine()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await engine.start(asgi.application, listener, None)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        finally:
            await engine.stop()
            await mcp_door.door.stop()


@asynccontextmanager
async def client(url: str, token: str, mode: str = "auto") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as connected,
    ):
        yield connected


async def use(agent: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await agent.call_tool(tool, arguments)
    (content,) = answer.content
    said: dict[str, Any] = json.loads(content.text)  # type: ignore[union-attr]
    assert json.loads(answer.structured_content["result"]) == said
    assert answer.is_error is not said["ok"]
    return said


async def test_a_task_goes_through_two_agents_in_both_eras(crew: Crew) -> None:
    tokens = {name: await sync_to_async(token_of)(crew, name) for name in ("ada", "wim")}
    async with served() as url, client(url, tokens["ada"]) as ada, client(url, tokens["wim"], "legacy") as wim:
        assert {ada.protocol_version, wim.protocol_version} == {NEW, OLD}
        await use(ada, "task_draft_create", task_id="FEAT-1", title="Mend the nets")
        plan = json.dumps({"assignments": [{"agent_id": "wim", "goal": "Mend them"}]})
        planned = await use(ada, "round_plan_submit", task_id="FEAT-1", plan_json=plan)
        assert planned["status"] == "awaiting_operator_approval"
        (mine,) = (await use(wim, "assignment_list"))["assignments"]
        assert (await use(wim, "assignment_claim", assignment_id=mine["id"]))["error"] == "ROUND_NOT_APPROVED"

        await sync_to_async(approve_round)(await Round.objects.aget(), by=crew.operator)
        claimed = await use(wim, "assignment_claim", assignment_id=mine["id"])
        assert claimed["assignment"]["status"] == "claimed"
        await use(wim, "assignment_progress", assignment_id=mine["id"], status="in_progress", note="Half way")
        handoff = json.dumps({"branch": "nets", "changed_files": ["net.py"], "tests_run": ["pytest"]})
        await use(wim, "assignment_complete", assignment_id=mine["id"], handoff_json=handoff)
        await use(wim, "message_send", to_agent="ada", subject="Done", body="Look.", round_id=planned["round_id"])

        (told,) = (await use(wim, "inbox_pull"))["messages"]
        assert (told["from_agent"], told["round_id"]) == ("AgentHub", planned["round_id"]) and mine["id"] in told[
            "body"
        ]
        notice, message = (await use(ada, "inbox_pull"))["messages"]
        assert (notice["from_agent"], notice["msg_type"]) == ("AgentHub", "review")
        await use(ada, "message_ack", message_id=notice["id"])
        assert (message["from_agent"], message["subject"], message["is_read"]) == ("wim", "Done", 0)
        await use(ada, "message_ack", message_id=message["id"])
        assert (await use(ada, "inbox_pull"))["messages"] == []
        (done,) = (await use(ada, "assignment_list", round_id=planned["round_id"]))["assignments"]
        told = await use(ada, "handoff_get", handoff_id=done["handoff_id"])
        assert json.loads(told["handoff"]["changed_files"]) == ["net.py"]
        review = await use(ada, "review_submit", round_id=planned["round_id"], verdict="approved")
        assert review == {"ok": True, "status": "completed", "round_id": planned["round_id"]}


async def test_bad_input_is_refused_with_a_code_in_the_protocols_own_form(crew: Crew) -> None:
    token = await sync_to_async(token_of)(crew, "ada")
    async with served() as url:
        for mode in ("auto", "legacy"):
            async with client(url, token, mode) as ada:
                with pytest.raises(MCPError) as refused:
                    await ada.call_tool("task_destroy", {})
                assert (refused.value.code, refused.value.data) == (-32602, {"code": "unknown_tool"})
                refusal = await use(ada, "hub_status", colour="red")
                assert refusal["error"] == "INVALID" and "colour" in refusal["data"]["fields"]
                assert (await use(ada, "inbox_pull", limit="many"))["error"] == "INVALID"
                assert (await use(ada, "message_send", to_agent="wim", subject="x", body="x" * 600_000))[
                    "error"
                ] == "PAYLOAD_TOO_LARGE"
                with pytest.raises(MCPError) as too_large:
                    await ada.call_tool("message_send", {"to_agent": "wim", "subject": "x", "body": "x" * 1_100_000})
                assert "1048576" in str(too_large.value)


async def test_only_a_valid_bearer_gets_in_and_no_page_of_another_site(crew: Crew) -> None:
    past = timezone.now() - timedelta(minutes=1)
    good = await sync_to_async(token_of)(crew, "ada")
    expired = await sync_to_async(token_of)(crew, "ada", expires_at=past)
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "hub_status", "arguments": {}}}
    async with served() as url, httpx.AsyncClient(headers={"Accept": "application/json"}) as http:
        for headers, status, code in (
            ({}, 401, "unauthenticated"),
            ({"Authorization": f"Bearer {expired}"}, 401, "invalid_token"),
            ({"Authorization": "Bearer wrong"}, 401, "invalid_token"),
            ({"Authorization": f"Bearer {good}", "Origin": "http://evil.example"}, 403, "wrong_origin"),
            ({"Authorization": f"Bearer {good}", "Host": "evil.example"}, 400, "wrong_host"),
        ):
            answer = await http.post(url, json=body, headers=headers)
            assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (status, code)
            assert answer.json()["jsonrpc"] == "2.0"
            assert status != 401 or answer.headers["www-authenticate"] == "Bearer"
        bearer = {"Authorization": f"Bearer {good}"}
        assert (await http.get(url, headers=bearer)).status_code == 405
        assert (await http.post(url, json=body, headers=bearer)).json()["result"]["isError"] is False
        for junk in (b"", b"{", b"[" * 100_000, b'{"jsonrpc": "2.0"}'):
            answer = await http.post(url, content=junk, headers={**bearer, "Content-Type": "application/json"})
            assert answer.status_code == 400 and answer.json()["error"]["code"] < 0


async def test_every_tool_is_described_and_those_of_the_hub_are_for_tokens_that_say_so(crew: Crew) -> None:
    narrow = await sync_to_async(token_of)(crew, "ada")
    wide = await sync_to_async(make_token)(scope="all hub:tools")
    async with served() as url:
        async with client(url, narrow) as ada:
            tools = (await ada.list_tools()).tools
            assert len(tools) == 16
            for tool in tools:
                assert tool.description and tool.input_schema["additionalProperties"] is False
                assert tool.output_schema and tool.output_schema["x-fastmcp-wrap-result"] is True
            with pytest.raises(MCPError):
                await ada.call_tool("run_start", {"agent": "demo", "prompt": "Go."})
        async with client(url, wide) as alice:
            names = {tool.name for tool in (await alice.list_tools()).tools}
            assert {"run_start", "run_follow", "run_cancel", "run_diff", "approval_list", "approval_answer"} <= names
            assert (await use(alice, "run_follow", run_id=str(crew.project.pk)))["error"] == "NOT_FOUND"
            assert (await use(alice, "lock_acquire", lock_key="x"))["error"] == "AGENTS_ONLY"


async def test_eight_clients_send_at_once_and_none_waits_long(crew: Crew) -> None:
    token = await sync_to_async(token_of)(crew, "wim")
    async with served() as url:

        async def send(number: int) -> dict[str, Any]:
            async with client(url, token) as wim:
                return await use(wim, "message_send", to_agent="ada", subject=str(number), body="x")

        async with asyncio.timeout(30):
            sent = await asyncio.gather(*map(send, range(8)))
    assert len({each["message_id"] for each in sent}) == 8


async def test_resources_tell_what_a_worker_has_to_know_and_nothing_of_others(crew: Crew, eve: Actor) -> None:
    (item,) = await sync_to_async(crew.approved)("wim")
    tokens = {name: await sync_to_async(token_of)(crew, name) for name in ("ada", "wim")}
    foreign = await sync_to_async(stranger_token)(eve)
    async with served() as url:
        for mode in ("auto", "legacy"):
            async with client(url, tokens["wim"], mode) as wim:
                listed = (await wim.list_resources()).resources
                templates = (await wim.list_resource_templates()).resource_templates
                assert [each.name for each in (*listed, *templates)] == [
                    "assignments", "tasks", "task", "round", "assignment", "handoff",
                ]  # fmt: skip
                assert all(each.description and each.mime_type for each in listed)
                assert all(each.description and each.mime_type for each in templates)
                assert [row["id"] for row in (await read(wim, "assignments"))["assignments"]] == [str(item.pk)]
                brief = await read(wim, f"assignments/{item.pk}")
                assert (brief["assignment"]["goal"], brief["task"]["task_id"]) == ("Goal 0", "T-1")
                round_ = await read(wim, f"rounds/{item.round_id}")
                assert (round_["round"]["status"], len(round_["assignments"])) == ("dispatched", 1)
                assert (await read(wim, "tasks/T-1"))["rounds"][0]["id"] == str(item.round_id)
        async with client(url, tokens["ada"]) as ada:
            assert [task["task_id"] for task in (await read(ada, "tasks"))["tasks"]] == ["T-1"]
            await refused(ada, "handoffs/nonsense", "not_found")
            await refused(ada, "harbours/1", "not_found")
        async with client(url, foreign) as stranger:
            await refused(stranger, "tasks/T-1", "task_not_found")
            await refused(stranger, f"rounds/{item.round_id}", "round_not_found")
            await refused(stranger, f"assignments/{item.pk}", "assignment_not_valid")


def stranger_token(actor: Actor) -> str:
    secret = "token-of-another-project-0123456789"
    (project_id,) = actor.project_ids
    Token.objects.create(
        agent_id=actor.id, agent_label=actor.label, project_id=project_id, name=secret, hint="x",
        digest=Token.digest_of(secret),
    )  # fmt: skip
    return secret


async def read(agent: Client, path: str) -> dict[str, Any]:
    (content,) = (await agent.read_resource(f"agenthub://{path}")).contents
    said: dict[str, Any] = json.loads(content.text)  # type: ignore[union-attr]
    return said


async def refused(agent: Client, path: str, code: str) -> None:
    with pytest.raises(MCPError) as error:
        await agent.read_resource(f"agenthub://{path}")
    assert (error.value.code, error.value.data["code"]) == (-32602, code)


async def test_prompts_for_each_part_are_filled_in_and_refuse_what_they_do_not_know(crew: Crew) -> None:
    token = await sync_to_async(token_of)(crew, "ada")
    async with served() as url:
        for mode in ("auto", "legacy"):
            async with client(url, token, mode) as ada:
                prompts = (await ada.list_prompts()).prompts
                assert [prompt.name for prompt in prompts] == ["dispatcher", "worker", "reviewer"]
                for prompt in prompts:
                    assert prompt.description and all(each.description for each in prompt.arguments or ())
                filled = await ada.get_prompt("dispatcher", {"work": "Mend the $nets"})
                (message,) = filled.messages
                text = message.content.text  # type: ignore[union-attr]
                assert "Mend the $nets" in text and "(none)" in text
                wrong: tuple[tuple[str, dict[str, str], str], ...] = (
                    ("cook", {}, "not_found"),
                    ("dispatcher", {}, "invalid"),
                    ("reviewer", {"round_id": "x", "mood": "grim"}, "invalid"),
                    ("worker", {"assignment_id": "x" * 20_000}, "invalid"),
                )
                for name, arguments, code in wrong:
                    with pytest.raises(MCPError) as error:
                        await ada.get_prompt(name, arguments)
                    assert (error.value.code, error.value.data["code"]) == (-32602, code)
