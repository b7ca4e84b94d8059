"""``agenthub mcp``: what it asks its node, when the node goes away in the middle of it, and what the agent is told."""

import io
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integrations.cli import actor_socket
from integrations.cli.mcp import Bridge

CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "lock_acquire", "arguments": {}}}


def bridged(home: Path, answers: list[Callable[[dict[str, Any]], Any]]) -> tuple[Any, list[dict[str, Any]]]:
    """What the client is told, and what a node is asked that has ``answers``; None is no answer."""
    asked: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "sock"))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as lines:
                    asked.append(json.loads(lines.readline()))
                    said = answer(asked[-1])
                    connection.sendall(json.dumps(said).encode() + b"\n" if said else b"")

        node = threading.Thread(target=serve)
        node.start()
        environ = {
            "AGENTHUB_ACTOR_SOCKET": str(home / "sock"), "AGENTHUB_ACTOR_TOKEN": "t", "AGENTHUB_RUN_ID": "r",
            "AGENTHUB_ACTOR_ID": "a",
        }  # fmt: skip
        out = io.BytesIO()
        Bridge(environ, out).serve(io.BytesIO(json.dumps(CALL).encode() + b"\n"))
        node.join(10)
    return json.loads(out.getvalue()), asked


def test_a_call_that_its_node_did_not_answer_is_the_same_call_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_socket, "AGAIN_SECONDS", 0.01)
    answered = {"result": {"message": {"jsonrpc": "2.0", "id": 7, "result": {}}}}
    told, asked = bridged(home, [lambda _: None, lambda _: answered])
    assert (told["result"], len(asked)) == ({}, 2)
    assert asked[0] == asked[1]
    assert asked[0]["body"]["key"].startswith("mcp:")


def test_where_nobody_knows_what_became_of_it_the_agent_is_told_how_to_look(home: Path) -> None:
    unknown = {"error": {"code": "outcome_unknown", "message": "Nobody knows.", "data": {}}}
    told, (asked,) = bridged(home, [lambda _: unknown])
    assert told["error"]["data"] == {"code": "outcome_unknown", "dedupe_key": asked["body"]["key"]}
    assert "assignment_list" in told["error"]["message"] and asked["body"]["key"] in told["error"]["message"]
