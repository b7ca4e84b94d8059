"""The tools behind the protocol's own package: both eras of it, without sessions, so that any web process answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import structlog
from django.db import DatabaseError
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as Described

from agenthub_site.accounts.actors import Actor
from nodes.contract.errors import HubError, Unavailable

from .coordination import VERSION
from .tool import Json, Tool, UnknownTool, all_tools, as_text, find_tool, told, tools_for

logger = structlog.get_logger(__name__)
logging.getLogger("mcp").setLevel(logging.WARNING)  # it tells of every request, as the hub does already

ACTOR: Final = "agenthub.actor"
"""Where in the scope the door puts who calls."""
BODY_BYTES: Final = 1024 * 1024
OUTPUT: Final[Json] = {
    "type": "object",
    "properties": {"result": {"type": "string", "description": 'JSON: {"ok": true, …} or {"ok": false, "error": …}.'}},
    "required": ["result"],
}
INSTRUCTIONS: Final = """\
AgentHub carries tasks between agents. As a dispatcher: task_draft_create, round_plan_submit, wait for an operator's \
approval, then assignment_list with the round_id, handoff_get, review_submit. As a worker: assignment_list, \
assignment_claim, assignment_progress (it renews the lease), assignment_complete. Read inbox_pull now and then, and \
message_ack what you have read. Every answer is JSON with "ok"; an error has a stable code in "error"."""

InThread = Callable[..., Awaitable[Any]]
"""Runs a synchronous function on a thread that may use the database."""


class McpServer:
    """Answers requests whose caller the door has put into the scope. Started with the first one."""

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread
        self._schemas = {tool.name: tool.schema for tool in all_tools()}
        server: Server[Any] = Server(
            "agenthub",
            version=VERSION,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            get_tool_input_schema=self._schemas.get,
        )
        self._manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=BODY_BYTES
        )
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        started = asyncio.Event()

        async def run() -> None:
            async with self._manager.run():
                started.set()
                await asyncio.Event().wait()

        self._running = asyncio.create_task(run(), name="mcp")
        await started.wait()

    async def stop(self) -> None:
        if self._running:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """One request, as an ASGI app."""
        await self._manager.handle_request(scope, receive, send)

    async def _list_tools(self, ctx: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_described(tool) for tool in tools_for(_actor_of(ctx))])

    async def _call_tool(self, ctx: Any, params: CallToolRequestParams) -> CallToolResult:
        actor = _actor_of(ctx)
        try:
            tool = find_tool(actor, params.name)
        except UnknownTool as error:
            raise MCPError(INVALID_PARAMS, error.text, {"code": error.code}) from error
        return _result(await self._call(tool, actor, params.arguments or {}))

    async def _call(self, tool: Tool, actor: Actor, arguments: Json) -> Json:
        try:
            if tool.is_instant:
                return tool.call(actor, arguments)
            result: Json = await self._in_thread(tool.call, actor, arguments)
        except HubError as error:
            return told(error)
        except DatabaseError as error:
            logger.warning("mcp.database_unavailable", tool=tool.name, error=str(error))
            return told(Unavailable("The database is not available at present; try again."))
        except Exception:  # the door of last resort: its caller is told that it was us, and nothing of what it was
            logger.exception("mcp.tool_failed", tool=tool.name)
            return told(HubError())
        return result


def _actor_of(ctx: Any) -> Actor:
    actor: Actor = ctx.request.scope[ACTOR]
    return actor


def _result(result: Json) -> CallToolResult:
    text = as_text(result)
    content = [TextContent(type="text", text=text)]
    return CallToolResult(content=content, structured_content={"result": text}, is_error=not result["ok"])


def _described(tool: Tool) -> Described:
    hints = ToolAnnotations(
        read_only_hint=tool.is_reading,
        destructive_hint=tool.is_destructive,
        idempotent_hint=tool.is_reading or tool.is_repeatable,
        open_world_hint=False,
    )
    return Described(
        name=tool.name, description=tool.description, input_schema=tool.schema, output_schema=OUTPUT, annotations=hints
    )
