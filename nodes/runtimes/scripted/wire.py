"""The agent's end of ACP, by hand: JSON-RPC 2.0, one message a line, over two pipes."""

import json
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

Message = dict[str, Any]


class Cancelled(Exception):
    """The client cancelled the turn."""


class RpcError(Exception):
    """A turn that ends as a JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Wire:
    """One reader thread calls ``read``; any thread may send."""

    def __init__(self, incoming: int = 0, outgoing: int = 1) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._lock = threading.Lock()
        self._next_id = 0
        self._answers: dict[int, queue.SimpleQueue[Message]] = {}
        self.cancelled = threading.Event()
        """Set by ``session/cancel`` and at the end of the input; cleared by the next prompt."""

    def raw(self, data: bytes) -> None:
        """Bytes as they are. A client that is gone ends the agent."""
        with self._lock:
            view = memoryview(data)
            while view:
                try:
                    view = view[os.write(self._outgoing, view) :]
                except BrokenPipeError:
                    os._exit(0)

    def send(self, message: Message) -> None:
        self.raw(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n")

    def notify(self, method: str, params: Message) -> None:
        self.send({"method": method, "params": params})

    def request(self, method: str, params: Message) -> Message:
        """Ask the client and wait for its whole answer, ``result`` or ``error``. ``Cancelled`` if the input ends."""
        with self._lock:
            self._next_id += 1
            number = self._next_id
            box = self._answers[number] = queue.SimpleQueue()
        self.send({"id": number, "method": method, "params": params})
        answer = box.get()
        if not answer:
            raise Cancelled
        return answer

    def read(self) -> Iterator[Message]:
        """Every request and notification of the client, until it closes its end."""
        with os.fdopen(self._incoming, "rb", closefd=False) as lines:
            for line in lines:
                message: Message = json.loads(line)
                if "method" in message:
                    yield message
                elif box := self._answers.pop(message.get("id", 0), None):
                    box.put(message)
        self.cancelled.set()
        for box in list(self._answers.values()):
            box.put({})

    def answer(self, request: Message, work: Callable[[Message], Message]) -> None:
        """Send what ``work`` makes of the request's parameters, or the ``RpcError`` that it raises."""
        try:
            self.send({"id": request["id"], "result": work(request.get("params", {}))})
        except RpcError as error:
            self.send({"id": request["id"], "error": {"code": error.code, "message": str(error)}})
