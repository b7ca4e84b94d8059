"""The line goes down exactly between what the hub commits and its answer: what a run asked for is done once.

A run on a machine that joined calls tools of the hub by ``agenthub mcp``. The hub hears it, and what the hub says does
not come back; once the database has what was asked for, the line is cut. The node asks again over the next link.
"""

import json
import sys
from typing import Any

import pytest

from tests.faults.tunnelled import SECONDS, Tunnelled, new_tunnelled, rows
from tests.support import eventually

pytestmark = pytest.mark.timeout(300)
CLIENT = """
import json, os, subprocess, sys, time

server = subprocess.Popen(["agenthub", "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def ask(*requests):
    for number, (method, params) in enumerate(requests):
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        server.stdin.write(json.dumps(message) + "\\n")
    server.stdin.flush()
    answers = [json.loads(server.stdout.readline()) for _ in requests]
    return [answer["result"] for answer in sorted(answers, key=lambda answer: answer["id"])]

def call(*tools):
    asked = [("tools/call", {"name": name, "arguments": arguments}) for name, arguments in tools]
    return [json.loads(answer["content"][0]["text"]) for answer in ask(*asked)]

def until(name):
    while not os.path.exists(name):
        time.sleep(0.02)

ask(("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}))
plan = json.dumps({"assignments": [{"agent_id": "far", "goal": "Mend the nets"}]})
call(("task_draft_create", {"task_id": "NETS", "title": "Nets"}))
(planned,) = call(("round_plan_submit", {"task_id": "NETS", "plan_json": plan}))
print(json.dumps({"round": planned["round_id"]}), flush=True)
until("approved")
(listed,) = call(("assignment_list", {}))
print(json.dumps({"assignments": len(listed["assignments"])}), flush=True)
until("go")
print(json.dumps(call(
    ("message_send", {"to_agent": "demo", "subject": "Nets", "body": "They are torn."}),
    ("lock_acquire", {"lock_key": "branch:main"}),
    ("assignment_claim", {"assignment_id": listed["assignments"][0]["id"]}),
)), flush=True)
"""


def test_what_was_committed_and_not_answered_is_done_once() -> None:
    with new_tunnelled() as far:
        agent = far.agent(runtime="command", preset="", command=[sys.executable, "-c", CLIENT])
        run = far.follow(agent, "Go.")

        def told() -> list[Any]:
            said = "".join(event["payload"]["text"] for event in run.follower.events if event["type"] == "run.output")
            return [json.loads(line) for line in said.splitlines() if line.startswith(("{", "["))]

        eventually(lambda: len(told()) == 1, SECONDS)
        assert far.hub.cli("hubctl", "approve", told()[0]["round"]).returncode == 0
        (far.work / "approved").touch()
        eventually(lambda: len(told()) == 2, SECONDS)

        far.line.hush()
        (far.work / "go").touch()
        eventually(lambda: done(far) == [1, 1, 1], SECONDS)
        far.line.cut()
        assert len(told()) == 2
        far.line.mend()

        run.ends()
        sent, locked, claimed = told()[2]
        assert (sent["ok"], locked["lock"]["fencing_number"], claimed["ok"]) == (True, 1, True)
        assert done(far) == [1, 1, 1]


def done(far: Tunnelled) -> list[int]:
    """How many such messages there are, how often the assignment was claimed, under which number the lock is held."""
    asked = (
        "SELECT count(*) FROM mailbox_message WHERE subject = 'Nets'",
        "SELECT count(*) FROM audit_auditevent WHERE name = 'assignment.claimed'",
        "SELECT coalesce(max(fencing_number), 0) FROM coordination_lock WHERE holder_id IS NOT NULL",
    )
    return [rows(far.hub, query)[0][0] for query in asked]
