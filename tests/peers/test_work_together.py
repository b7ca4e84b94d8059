"""Two real agents on a node of a real hub carry a task from plan to review, with the tools of their runs."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model_server import ModelServer, model_server
from tests.journeys.hub import Hub, running_hub
from tests.journeys.test_mcp_in_runs import finish, make_agent
from tests.peers.agents import Peer

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    """On a loop of its own: the tests wait for commands of the hub."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = model_server("/")
    yield asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(10)
    asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def prompt(*calls: tuple[str, dict[str, Any]]) -> str:
    return "Please " + " ".join(f"[[tool {name} {json.dumps(arguments)}]]" for name, arguments in calls)


def test_a_task_is_carried_from_plan_to_review(hub: Hub, model: ModelServer, peer: Peer, tmp_path: Path) -> None:
    ada, wim, key = f"ada-{peer.preset}", f"wim-{peer.preset}", f"NETS-{peer.preset}"
    for name in (ada, wim):
        runtime = peer.runtime(tmp_path / name, model.url)
        make_agent(hub, name, preset=peer.preset, command=runtime.command, environment=runtime.environment)
    plan = json.dumps({"assignments": [{"agent_id": wim, "goal": "Mend the nets"}]})
    *_, planned = finish(
        hub,
        hub.start_run(
            prompt(
                ("hub_status", {}),
                ("task_draft_create", {"task_id": key, "title": "Nets"}),
                ("round_plan_submit", {"task_id": key, "plan_json": plan}),
            ),
            ada,
        ),
    )
    assert planned["status"] == "awaiting_operator_approval"
    assert hub.cli("hubctl", "approve", planned["round_id"]).returncode == 0
    handoff = json.dumps({"branch": "nets", "tests_run": ["pytest"], "notes": "Tight."})
    *_, done, told = finish(
        hub,
        hub.start_run(
            prompt(
                ("assignment_list", {}),
                ("assignment_claim", {"assignment_id": "$id"}),
                ("assignment_progress", {"assignment_id": "$id", "status": "in_progress", "note": "Half way"}),
                ("assignment_complete", {"assignment_id": "$id", "handoff_json": handoff}),
                ("message_send", {"to_agent": ada, "subject": "Done", "body": "Look at it."}),
            ),
            wim,
        ),
    )
    assert (done["assignment"]["status"], told["ok"]) == ("completed", True)
    mail, *_, handed_over, reviewed = finish(
        hub,
        hub.start_run(
            prompt(
                ("inbox_pull", {}),
                ("message_ack", {"message_id": "$id"}),
                ("assignment_list", {"round_id": planned["round_id"]}),
                ("handoff_get", {"handoff_id": "$handoff_id"}),
                ("review_submit", {"round_id": planned["round_id"], "verdict": "approved"}),
            ),
            ada,
        ),
    )
    assert mail["messages"][-1]["from_agent"] == wim
    assert (handed_over["handoff"]["branch"], reviewed["status"]) == ("nets", "completed")
