"""Asking the node from within a run: one line of JSON each way, over its Unix socket."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nodes.server.actor_calls import ACTOR_VARIABLE, SOCKET_VARIABLE, TOKEN_VARIABLE
from nodes.server.proc import RUN_MARKER
from nodes.server.unixsocket import connect

from .actor_refused import Refused
from .exits import Exit

UNKNOWN: Final = ("outcome_unknown", "unavailable", "unreachable")
"""After these nobody may know whether it was done."""
ANSWER_SECONDS: Final = 60.0
"""For a call in all."""
AGAIN_SECONDS: Final = 0.5


def is_in_run(environ: Mapping[str, str]) -> bool:
    return bool(environ.get(SOCKET_VARIABLE) and environ.get(TOKEN_VARIABLE) and environ.get(RUN_MARKER))


def ask_node(environ: Mapping[str, str], actor_id: str | None, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    """The hub's answer to the run's agent, by whichever of its names. Raises ``actor.Refused``."""
    named, mine = (actor_id or "").removeprefix("agent:"), environ.get(ACTOR_VARIABLE, "")
    if named not in ("", mine) and named not in (names := _own_names(environ)):
        message = f"Within a run you are {names[0]} and speak for nobody else. Leave out --actor-id."
        raise Refused({"code": "forbidden", "message": message, "data": {"actor_id": mine}})
    return _ask(environ, verb, body)


def _own_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What else the agent is called: ``harbour/mender`` and ``mender``."""
    members = _ask(environ, "team-members", {})["members"]
    name = next((str(each["name"]) for each in members if each["is_you"]), environ.get(ACTOR_VARIABLE, ""))
    return name, name.rpartition("/")[2]


def _ask(environ: Mapping[str, str], verb: str, body: dict[str, Any]) -> dict[str, Any]:
    call = {"run_id": environ[RUN_MARKER], "token": environ[TOKEN_VARIABLE], "verb": verb, "body": body}
    answer = _answer(Path(environ[SOCKET_VARIABLE]), json.dumps(call).encode() + b"\n")
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    said = answer["error"]
    raise Refused(said, Exit.UNREACHABLE if said["code"] in UNKNOWN else Exit.REFUSED)


def _answer(socket: Path, call: bytes) -> dict[str, Any]:
    """The node's. One that is just being replaced is asked again, as it is: what must be done once has a key."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return _answer_once(socket, call, max(1.0, end - time.monotonic()))
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, PermissionError) or time.monotonic() + AGAIN_SECONDS >= end:
                message = f"This run's node does not answer at {socket} ({error}). Try again in a moment."
                raise Refused({"code": "unreachable", "message": message, "data": {}}, Exit.UNREACHABLE) from None
        time.sleep(AGAIN_SECONDS)


def _answer_once(socket: Path, call: bytes, seconds: float) -> dict[str, Any]:
    with connect(socket) as connection, connection.makefile("rb") as answers:
        connection.settimeout(seconds)
        connection.sendall(call)
        answer: dict[str, Any] = json.loads(answers.readline() or b'""')
    if isinstance(answer, dict) and answer.get("error", {}).get("code") == "busy":
        raise BlockingIOError(answer["error"]["message"])
    if not (isinstance(answer, dict) and (isinstance(answer.get("result"), dict) or "code" in answer["error"])):
        raise ValueError("it gave no answer")
    return answer
