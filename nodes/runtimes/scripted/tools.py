"""Tools of the MCP servers that the client named for a session: a client of that protocol, by hand, over stdio."""

import json
import os
import select
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from .wire import Cancelled, Wire

Message = dict[str, Any]
VERSION = "2025-11-25"


class ToolServer:
    """A server that runs until the agent ends. ``spec`` is as ACP has it in ``mcpServers``."""

    def __init__(self, spec: Mapping[str, Any], cwd: Path, wire: Wire) -> None:
        self.name = str(spec["name"])
        self._wire = wire
        self._next_id = 0
        self._read = b""
        environ = {**os.environ, **{each["name"]: each["value"] for each in spec.get("env", ())}}
        process = subprocess.Popen(
            [spec["command"], *spec.get("args", ())], cwd=cwd, env=environ, bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._to, self._from = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        about = {"name": "scripted", "version": "1"}
        self._ask("initialize", {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": about})
        self._send({"method": "notifications/initialized"})

    def call(self, tool: str, arguments: Message) -> tuple[str, bool]:
        """What the tool told, and whether that is an error."""
        answer = self._ask("tools/call", {"name": tool, "arguments": arguments})
        if "error" in answer:
            return json.dumps(answer["error"], ensure_ascii=False), True
        result = answer["result"]
        return "".join(each.get("text", "") for each in result["content"]), bool(result.get("isError"))

    def _ask(self, method: str, params: Message) -> Message:
        self._next_id += 1
        self._send({"id": self._next_id, "method": method, "params": params})
        while True:
            answer: Message = json.loads(self._line())
            if answer.get("id") == self._next_id:
                return answer

    def _send(self, message: Message) -> None:
        self._to.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def _line(self) -> bytes:
        """The next line. ``Cancelled`` with the turn; ``OSError`` once the server has ended."""
        while b"\n" not in self._read:
            if self._wire.cancelled.is_set():
                raise Cancelled
            if select.select([self._from], [], [], 0.05)[0]:
                piece = os.read(self._from.fileno(), 65_536)
                if not piece:
                    raise OSError(0, "it has ended", self.name)
                self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line
