"""The tools behind the protocol's own package: both eras of it, without sessions, so that any web process answers."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import structlog
from django.db import DatabaseError, DataError
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    PromptArgument,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from mcp_types import Prompt as DescribedPrompt
from mcp_types import Tool as Described

from agenthub_site.accounts.actors import Actor
from nodes.contract.errors import HubError, Invalid, Unavailable

from .coordination import VERSION
from .prompts import PROMPTS, Prompt, fill_in
from .resources import MIME, RESOURCES, read_resource
from .tool import Asking, InThread, Json, Tool, UnknownTool, Within, all_tools, as_text, find_tool, told, tools_for

logger = structlog.get_logger(__name__)
logging.getLogger("mcp").setLevel(logging.WARNING)  # it tells of every request, as the hub does already

ACTOR: Final = "agenthub.actor"
"""Where in the scope the door puts who calls."""
WITHIN: Final = "agenthub.within"
"""And, for an agent within a run, which one: a ``Within``."""
BODY_BYTES: Final = 1024 * 1024
OUTPUT: Final[Json] = {
    "type": "object",
    "properties": {"result": {"type": "string", "description": 'JSON: {"ok": true, …} or {"ok": false, "error": …}.'}},
    "required": ["result"],
    "x-fastmcp-wrap-result": True,
}
"""By the last word FastMCP's client knows that ``result`` is the answer, as the package's said it of theirs."""
INSTRUCTIONS: Final = """\
AgentHub carries tasks between agents. As a dispatcher: task_draft_create, round_plan_submit, wait for an operator's \
approval, then assignment_list with the round_id, handoff_get, review_submit. As a worker: assignment_list, \
assignment_claim, assignment_progress (it renews the lease), assignment_complete. Read inbox_pull now and then, and \
message_ack what you have read. Every answer is JSON with "ok"; an error has a stable code in "error"."""


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
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
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
        asking = Asking(actor, self._in_thread, ctx.request.scope.get(WITHIN, Within()))
        return _result(await self._call(tool, asking, params.arguments or {}))

    async def _list_resources(self, ctx: Any, params: PaginatedRequestParams | None) -> ListResourcesResult:
        fixed = [
            Resource(name=each.name, uri=each.uri, title=each.title, description=each.description, mime_type=MIME)
            for each in RESOURCES
            if not each.is_template
        ]
        return ListResourcesResult(resources=fixed)

    async def _list_templates(self, ctx: Any, params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
        templates = [
            ResourceTemplate(
                name=each.name, uri_template=each.uri, title=each.title, description=each.description, mime_type=MIME
            )
            for each in RESOURCES
            if each.is_template
        ]
        return ListResourceTemplatesResult(resource_templates=templates)

    async def _read_resource(self, ctx: Any, params: ReadResourceRequestParams) -> ReadResourceResult:
        said = await _answered("resources/read", self._in_thread(read_resource, _actor_of(ctx), params.uri))
        text = TextResourceContents(uri=params.uri, mime_type=MIME, text=as_text(said))
        return ReadResourceResult(contents=[text])

    async def _list_prompts(self, ctx: Any, params: PaginatedRequestParams | None) -> ListPromptsResult:
        return ListPromptsResult(prompts=[_described_prompt(prompt) for prompt in PROMPTS])

    async def _get_prompt(self, ctx: Any, params: GetPromptRequestParams) -> GetPromptResult:
        try:
            prompt, text = fill_in(params.name, params.arguments or {})
        except HubError as error:
            raise _as_error(error) from error
        message = PromptMessage(role="user", content=TextContent(type="text", text=text))
        return GetPromptResult(description=prompt.description, messages=[message])

    async def _call(self, tool: Tool, asking: Asking, arguments: Json) -> Json:
        try:
            return await _guarded(tool.name, tool.call(asking, arguments))
        except HubError as error:
            return told(error)


async def _guarded(what: str, answer: Awaitable[Json]) -> Json:
    """``answer``; all that goes wrong is a ``HubError``."""
    try:
        return await answer
    except HubError:
        raise
    except DataError as error:
        raise Invalid("A value cannot be stored, such as U+0000 in a text.") from error
    except DatabaseError as error:
        logger.warning("mcp.database_unavailable", what=what, error=str(error))
        raise Unavailable("The database is not available at present; try again.") from error
    except Exception as error:  # the last resort: its caller is told that it was us, and nothing of what it was
        logger.exception("mcp.failed", what=what)
        raise HubError from error


async def _answered(what: str, answer: Awaitable[Json]) -> Json:
    """The same for what refuses in the protocol's own form."""
    try:
        return await _guarded(what, answer)
    except HubError as error:
        raise _as_error(error) from error


def _as_error(error: HubError) -> MCPError:
    is_ours = error.http >= HTTPStatus.INTERNAL_SERVER_ERROR
    return MCPError(INTERNAL_ERROR if is_ours else INVALID_PARAMS, error.text, {"code": error.code, **error.data})


def _actor_of(ctx: Any) -> Actor:
    actor: Actor = ctx.request.scope[ACTOR]
    return actor


def _result(result: Json) -> CallToolResult:
    text = as_text(result)
    content = [TextContent(type="text", text=text)]
    return CallToolResult(content=content, structured_content={"result": text}, is_error=not result["ok"])


def _described_prompt(prompt: Prompt) -> DescribedPrompt:
    arguments = [
        PromptArgument(name=each.name, description=each.description, required=each.is_required)
        for each in prompt.arguments
    ]
    return DescribedPrompt(name=prompt.name, title=prompt.title, description=prompt.description, arguments=arguments)


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
