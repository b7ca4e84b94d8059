"""``agenthub mcp``: the hub's MCP server for the agent of this run, over standard input and output.

What the agent's MCP client writes goes to the run's node, message by message, with the run's own token, and over the
node's link to the hub; the hub's answer comes back the same way. Each has a key, under which it is done once, however
often it is asked because a link was lost. Nothing is kept here but the protocol's version that was agreed upon. Several
requests may be under way at once.
"""

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore, Lock
from typing import Any, BinaryIO, Final

from .actor_refused import Refused
from .actor_socket import ask_node, is_in_run
from .exits import Exit
from .where import Where

AT_ONCE: Final = 8
"""Requests under way; what is beyond that is read later."""
PARSE_ERROR: Final = -32700
INTERNAL_ERROR: Final = -32603
LOOK: Final = (
    "What may be done already is found so: assignment_list shows your assignments (with a round_id those of a round of "
    "yours); message_send with the dedupe_key {key} sends this message once; a lock that names you as its holder is "
    "given back by lock_release and taken anew."
)
"""For a tool whose outcome nobody knows."""
Message = dict[str, Any]

HELP: Final = """\
usage: agenthub mcp

The hub's MCP server over standard input and output, for the agent of a run: an MCP client starts it. Agents that speak
ACP are given it by their node, if they are set up so ("mcp": true); any other is told to start `agenthub mcp`.

It works within a run only. Elsewhere a client connects to the hub's /mcp with its agent's token.
"""


def main(arguments: Sequence[str], where: Where) -> int:
    if arguments in (["-h"], ["--help"]):
        sys.stdout.write(HELP)
        return Exit.OK
    if arguments or not is_in_run(where.environ):
        why = f"{arguments[0]!r} is too much." if arguments else "this is no run."
        sys.stderr.write(f"agenthub mcp: {why}\n{HELP}")
        return Exit.USAGE
    Bridge(where.environ, sys.stdout.buffer).serve(sys.stdin.buffer)
    return Exit.OK


class Bridge:
    """One client's connection, until it closes its end."""

    def __init__(self, environ: Mapping[str, str], outgoing: BinaryIO) -> None:
        self._environ = environ
        self._outgoing = outgoing
        self._writing = Lock()
        self._room = BoundedSemaphore(AT_ONCE)
        self._version = ""

    def serve(self, incoming: BinaryIO) -> None:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for line in incoming:
                message = self._read(line)
                if message is not None:
                    self._room.acquire()
                    threads.submit(self._answer, message)

    def _read(self, line: bytes) -> Message | None:
        """A request. Notifications and answers need none of ours: the hub keeps nothing between two requests."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._write(_error(None, PARSE_ERROR, "This is not JSON.", {"code": "invalid"}))
            return None
        is_request = isinstance(message, dict) and "method" in message and "id" in message
        return message if is_request else None

    def _answer(self, message: Message) -> None:
        try:
            self._write(self._ask(message))
        finally:
            self._room.release()

    def _ask(self, message: Message) -> Message:
        key = f"mcp:{uuid.uuid4().hex}"
        try:
            told = ask_node(self._environ, None, "mcp", {"version": self._version, "message": message, "key": key})
        except Refused as refused:
            code, said = refused.error["code"], refused.error["message"]
            data = {"code": code, **refused.error.get("data", {})}
            if code in ("outcome_unknown", "unreachable") and message["method"] == "tools/call":
                said, data = f"{said} {LOOK.format(key=key)}", data | {"dedupe_key": key}
            return _error(message["id"], INTERNAL_ERROR, said, data)
        answer: Message = told["message"]
        if message["method"] == "initialize":
            self._version = answer.get("result", {}).get("protocolVersion", "")
        return answer

    def _write(self, message: Message) -> None:
        data = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        with self._writing:
            self._outgoing.write(data)
            self._outgoing.flush()


def _error(id_: Any, code: int, message: str, data: Message) -> Message:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message, "data": data}}
