"""Two agents on a node of a real hub carry a task from plan to review with the tools that their runs were given."""

import json
import sys
from typing import Any

import pytest

from integrations.cli.client import Client
from nodes.runtimes.presets import PRESETS
from nodes.server.sandbox import why_not
from tests.support import eventually

from .hub import Hub

pytestmark = [pytest.mark.journey, pytest.mark.timeout(400)]


def make_agent(hub: Hub, name: str, **settings: Any) -> None:
    repository = str(hub.home / "worktrees" / "demo" / "hello")
    command = [*PRESETS["scripted"].command, "--pace", "0"]
    agent = {"project": "demo", "node": "local", "name": name, "preset": "scripted", "command": command, "mcp": True}
    agent |= {"workspace_mode": "create_worktree", "worktree_repo": repository, **settings}
    Client.over_socket(hub.home / "hub.sock").post("/api/v1/agents/", agent)


def tools_told(hub: Hub, run: str) -> list[Any]:
    """What the hub's tools have answered in a run, in order."""
    results = [each for each in hub.events(run) if each["type"] in ("run.tool.result", "run.tool.failed")]
    # A live session is told of its mail in a turn of its own, in which it may do anything.
    return [_unwrapped(each["payload"]) for each in results if "agenthub" in each["payload"]["title"]]


def _unwrapped(payload: dict[str, Any]) -> Any:
    """The scripted agent and OpenCode show a tool's text, Claude Code its structured content, Codex all of it."""
    said = json.loads(payload["content"][0]["text"] if payload["content"] else payload["output"])
    while "result" in said:
        said = said["result"]
        said = json.loads(said) if isinstance(said, str) else said.get("structuredContent", said)
    return said


def finish(hub: Hub, run: str) -> list[Any]:
    hub.follow(run).wait(timeout=240)
    assert hub.run_of(run)["state"] == "succeeded", hub.logs()
    assert not [each for each in hub.events(run) if each["type"] == "run.approval.requested"]
    told = tools_told(hub, run)
    assert told, hub.cli("logs", run).stdout
    return told


@pytest.mark.parametrize("isolation", ["none", "masked"])
def test_a_task_is_carried_from_plan_to_review(hub: Hub, isolation: str) -> None:
    if isolation == "masked" and why_not():
        pytest.skip(why_not())
    ada, wim, key = f"ada-{isolation}", f"wim-{isolation}", f"NETS-{isolation}"
    for name in (ada, wim):
        make_agent(hub, name, isolation=isolation)
    plan = json.dumps({"assignments": [{"agent_id": wim, "goal": "Mend the nets"}]})
    drafted = {"task_id": key, "title": "Nets"}
    submitted = {"task_id": key, "plan_json": plan}
    planning = f"@tool task_draft_create {json.dumps(drafted)} @tool round_plan_submit {json.dumps(submitted)}"
    *_, planned = finish(hub, hub.start_run(planning, ada))
    assert planned["status"] == "awaiting_operator_approval"

    assert hub.cli("hubctl", "approve", planned["round_id"], "Go on").returncode == 0
    handoff = json.dumps({"handoff_json": json.dumps({"branch": "nets", "tests_run": ["pytest"]})})[1:]
    working = (
        '@tool assignment_list {} @tool assignment_claim {"assignment_id": "$id"} '
        '@tool assignment_progress {"assignment_id": "$id", "status": "in_progress"} '
        f'@tool assignment_complete {{"assignment_id": "$id", {handoff} @tool assignment_claim {{}}'
    )
    *_, done, refused = finish(hub, hub.start_run(working, wim))
    assert (done["assignment"]["status"], refused["error"]) == ("completed", "INVALID")

    round_id = json.dumps(planned["round_id"])
    reviewing = (
        f'@tool assignment_list {{"round_id": {round_id}}} @tool handoff_get {{"handoff_id": "$handoff_id"}} '
        f'@tool review_submit {{"round_id": {round_id}, "verdict": "approved"}}'
    )
    _, handed_over, reviewed = finish(hub, hub.start_run(reviewing, ada))
    assert (handed_over["handoff"]["branch"], reviewed["status"]) == ("nets", "completed")
    assert json.loads(hub.cli("hubctl", "status", planned["round_id"], "--json").stdout)["status"] == "completed"


CLIENT = """
import asyncio, json, os
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError

async def main():
    server = StdioServerParameters(command="agenthub", args=["mcp"], env=dict(os.environ))
    for mode in ("auto", "legacy"):
        async with Client(stdio_client(server), mode=mode) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            calls = [client.call_tool("hub_status", {}) for _ in range(20)]
            answers = [json.loads(answer.content[0].text)["ok"] for answer in await asyncio.gather(*calls)]
            try:
                await client.call_tool("message_send", {"subject": "x", "body": "x" * 200_000})
            except MCPError as error:
                code = error.data["code"]
            print(json.dumps([client.protocol_version, len(names), "run_start" in names, all(answers), code]))
asyncio.run(main())
"""


def test_the_official_client_speaks_both_eras_within_a_run(hub: Hub) -> None:
    """Of a command, which is given nothing: it starts ``agenthub mcp`` by itself."""
    make_agent(hub, "clerk", runtime="command", preset="", command=[sys.executable, "-c", CLIENT], mcp=False)
    run = hub.start_run("Go", "clerk")
    hub.follow(run).wait()
    said = "".join(each["payload"]["text"] for each in hub.events(run) if each["type"] == "run.output")
    assert [json.loads(line) for line in said.splitlines()] == [
        ["2026-07-28", 16, False, True, "too_large"],
        ["2025-11-25", 16, False, True, "too_large"],
    ], said + hub.logs()


def test_a_runs_token_is_told_to_nobody_else(hub: Hub) -> None:
    make_agent(hub, "teller")
    run = hub.start_run("@tool hub_status {} @env AGENTHUB_ACTOR_TOKEN", "teller", "--keep-open")
    eventually(lambda: tools_told(hub, run), 60)
    token = (hub.home / "node" / "runs" / run / "actor-token").read_text()
    assert hub.cli("cancel", run).returncode == 0
    hub.follow(run).wait()
    held = [path for path in hub.home.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert {path.name for path in held} <= {"actor-token"}
