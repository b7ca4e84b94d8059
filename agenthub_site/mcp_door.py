"""``/mcp``: the protocol's server behind the hub's own wrapper, started when somebody first comes."""

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from agenthub_site.accounts.actors import Entry
from agenthub_site.accounts.admission import Caller
from agenthub_site.database_threads import DatabaseThreads
from nodes.contract.errors import HubError

if TYPE_CHECKING:
    from integrations.mcp.server import McpServer

JSONRPC_INVALID_REQUEST = -32600


@dataclass(slots=True)
class Whole:
    """What an ASGI app answered, collected."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    async def take(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        else:
            self.body += message.get("body", b"")


class McpDoor:
    """One per process. ``answer`` starts the server; ``stop`` ends it."""

    def __init__(self) -> None:
        self._server: McpServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: DatabaseThreads | None = None
        self._starting = asyncio.Lock()

    async def answer(self, caller: Caller, body: bytes) -> Whole:
        """The server's answer to one POST of ``caller``'s."""
        server = await self._started()
        scope = {**caller.scope, "agenthub.actor": replace(caller.actor, entry=Entry.MCP)}
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> MutableMapping[str, Any]:
            if unread:
                return unread.pop()
            await asyncio.Event().wait()
            raise AssertionError

        answered = Whole()
        await server.answer(scope, receive, answered.take)
        return answered

    async def _started(self) -> "McpServer":
        async with self._starting:
            if self._server is None or self._loop is not asyncio.get_running_loop():
                # Seconds of imports, which nobody else should have to wait for.
                module = await asyncio.to_thread(import_module, "integrations.mcp.server")
                self._threads = DatabaseThreads(8)
                self._loop = asyncio.get_running_loop()
                self._server = module.McpServer(self._threads.run)
                await self._server.start()
            return self._server

    async def stop(self) -> None:
        if self._server:
            await self._server.stop()
        if self._threads:
            await asyncio.to_thread(self._threads.close)
        self._server = self._threads = None


def as_jsonrpc(error: HubError) -> dict[str, Any]:
    """A refusal before any tool was reached, as JSON-RPC has errors; ``data`` has the hub's own code."""
    said = {"code": JSONRPC_INVALID_REQUEST, "message": error.text, "data": {"code": error.code, **error.data}}
    return {"jsonrpc": "2.0", "id": None, "error": said}


door = McpDoor()
"""This process's."""
