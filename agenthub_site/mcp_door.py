"""``/mcp``: the protocol's server behind the hub's own wrapper, started when somebody first comes."""

import asyncio
import gc
import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agenthub_site.accounts.actors import Actor, Entry, Held
from agenthub_site.accounts.admission import Caller
from agenthub_site.accounts.scopes import ALL, capabilities_of
from agenthub_site.database_threads import DatabaseThreads
from agents.mail.acting import Acting
from integrations.mcp.tool import Within
from nodes.contract.errors import HubError, Invalid

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
        return await self._answer(caller.actor, caller.scope, body)

    async def answer_in_run(self, by: Acting, run_id: UUID, body: bytes) -> dict[str, Any]:
        """The same for a message of the agent of a live run, which came over its node's link. Raises ``Invalid``.

        ``body`` is ``{"version", "message", "key"}``: asked again with the same key it is the same call, done once. The
        tools for the hub itself are not for it: it holds no token that says so, only its run.
        """
        try:
            said = json.loads(body)
            version, message, key = str(said["version"]), said["message"], str(said.get("key", ""))
            message_id = message["id"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Invalid('Send {"version", "message", "key"}, with a request of MCP.') from None
        await self._started()
        scope, request = import_module("integrations.mcp.as_request").as_request(message, version)
        held = replace(by.actor, token=Held(run_id, capabilities_of(ALL)))
        within = Within(run_id, by.apart, key)
        answered = await self._answer(held, {**scope, "agenthub.within": within}, request)
        answer = json.loads(answered.body)
        return {"message": {**answer, "id": message_id}}

    async def _answer(self, actor: Actor, scope: Mapping[str, Any], body: bytes) -> Whole:
        server = await self._started()
        scope = {**scope, "agenthub.actor": replace(actor, entry=Entry.MCP)}
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
                gc.freeze()
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
