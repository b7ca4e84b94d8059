"""Asking the node from within a run: one line of JSON each way, over its Unix socket."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nodes.server.actor_calls import ACTOR_VARIABLE, SOCKET_VARIABLE, TOKEN_VARIABLE
from nodes.server.proc import RUN_MARKER
from nodes.server.unixsocket import connect

from .actor_refused import Refused
from .exits import Exit

ANSWER_SECONDS: Final = 60.0


def is_in_run(environ: Mapping[str, str]) -> bool:
    return bool(environ.get(SOCKET_VARIABLE) and environ.get(TOKEN_VARIABLE) and environ.get(RUN_MARKER))


def ask_node(environ: Mapping[str, str], actor_id: str | None, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    """The hub's answer. Raises ``actor.Refused``."""
    mine = environ.get(ACTOR_VARIABLE, "")
    if actor_id and actor_id.removeprefix("agent:") != mine:
        message = f"Within a run you are {mine} and speak for nobody else. Leave out --actor-id."
        raise Refused({"code": "forbidden", "message": message, "data": {"actor_id": mine}})
    call = {"run_id": environ[RUN_MARKER], "token": environ[TOKEN_VARIABLE], "verb": verb, "body": body}
    try:
        with connect(Path(environ[SOCKET_VARIABLE])) as connection, connection.makefile("rb") as answers:
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(json.dumps(call).encode() + b"\n")
            answer = json.loads(answers.readline() or b"{}")
    except (OSError, ValueError) as error:
        message = f"This run's node does not answer at {environ[SOCKET_VARIABLE]} ({error}). Try again in a moment."
        raise Refused({"code": "unreachable", "message": message, "data": {}}, Exit.UNREACHABLE) from None
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    said = answer.get("error") or {"code": "unavailable", "message": "The node gave no answer; try again.", "data": {}}
    raise Refused(said, Exit.UNREACHABLE if said["code"] == "unavailable" else Exit.REFUSED)
