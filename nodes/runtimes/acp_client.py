"""Our end of an ACP connection: requests out, updates and questions in.

It is built on the SDK's ``Connection`` and schema rather than on its client class: that
one logs what does not validate and goes on, and here every such fault becomes an event.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from acp import schema
from acp.connection import Connection
from acp.exceptions import RequestError
from acp.meta import AGENT_METHODS, CLIENT_METHODS, PROTOCOL_VERSION
from acp.utils import serialize_params
from pydantic import BaseModel, ValidationError

from nodes.contract.actions import actions_of, gravest
from nodes.contract.events import ApprovalOption, ToolContent
from nodes.contract.runtime import Host, Question

from .acp_tools import (
    TEXT_BYTES,
    TITLE_CHARS,
    Call,
    canonical,
    clip,
    command_of,
    paths_of,
    place_of,
    request_of,
    shown_paths,
)  # fmt: skip
from .acp_translate import Translator
from .lines import Faults, Lines, Message

CANCELLED: Message = {"outcome": {"outcome": "cancelled"}}
OPTIONS = 20
OPTION_ID_CHARS = 200
COMMAND_BYTES = 4_000
_NOT_OFFERED = frozenset(CLIENT_METHODS.values())
UPDATE = CLIENT_METHODS["session_update"]
PERMISSION = CLIENT_METHODS["session_request_permission"]
ResumedBy = Literal["session_resume", "session_load"]
Choices = schema.NewSessionResponse | schema.LoadSessionResponse
"""Where an agent says which modes and models a session offers."""


class AcpClient:
    """One connection with one session. The agent is offered neither files nor terminals of ours."""

    def __init__(self, host: Host, lines: Lines, faults: Faults) -> None:
        self._host = host
        self._faults = faults
        self._connection = Connection(self._handle, lines)
        self._stop_asking = asyncio.Event()
        self.translator = Translator(host)
        self.session_id = ""
        self._is_replaying = False

    async def close(self) -> None:
        await self._connection.close()

    # Requests to the agent. All raise ``ConnectionError`` when it is gone and ``RequestError`` when it refuses.

    async def request(self, name: str, params: BaseModel) -> Any:
        return await self._connection.send_request(AGENT_METHODS[name], serialize_params(params))

    async def initialize(self, version: str) -> schema.InitializeResponse:
        request = schema.InitializeRequest(
            protocol_version=PROTOCOL_VERSION,
            client_capabilities=schema.ClientCapabilities(field_meta={"terminal_output": True}),
            client_info=schema.Implementation(name="agenthub", title="AgentHub", version=version),
        )
        return schema.InitializeResponse.model_validate(await self.request("initialize", request))

    async def open_session(self, cwd: str) -> schema.NewSessionResponse:
        answer = await self.request("session_new", schema.NewSessionRequest(cwd=cwd, mcp_servers=self._servers()))
        session = schema.NewSessionResponse.model_validate(answer)
        self.session_id = session.session_id
        return session

    async def resume_session(self, session: str, cwd: str, *, by: ResumedBy) -> Choices:
        """Take up a session of an earlier process. What ``session/load`` tells again was told by that one's run."""
        request = (
            schema.ResumeSessionRequest(session_id=session, cwd=cwd, mcp_servers=self._servers())
            if by == "session_resume"
            else schema.LoadSessionRequest(session_id=session, cwd=cwd, mcp_servers=self._servers())
        )
        self._is_replaying = True
        try:
            answer = await self.request(by, request)
        finally:
            self._is_replaying = False
        choices = schema.LoadSessionResponse.model_validate(answer or {})  # of the same shape as the other's
        self.session_id = session
        return choices

    async def prompt(self, text: str) -> Message:
        """The agent's answer as it is: an unknown stop reason is no reason to lose a turn."""
        self._stop_asking.clear()
        block = schema.TextContentBlock(type="text", text=text)
        answer = await self.request("session_prompt", schema.PromptRequest(session_id=self.session_id, prompt=[block]))
        return answer if isinstance(answer, dict) else {}

    async def cancel(self) -> None:
        """Cancel the turn, then answer whatever was asked in it. Without the answers several agents hang."""
        notification = schema.CancelNotification(session_id=self.session_id)
        try:
            await self._connection.send_notification(AGENT_METHODS["session_cancel"], serialize_params(notification))
        finally:
            self._stop_asking.set()

    def _servers(self) -> list[Any]:
        """Over stdio, which every agent takes."""
        return [
            schema.McpServerStdio(
                name=server.name,
                command=server.command[0],
                args=list(server.command[1:]),
                env=[schema.EnvVariable(name=name, value=value) for name, value in server.environment.items()],
            )
            for server in self._host.tool_servers
        ]

    # What the agent sends. The first step of each call runs in the pipe's order, and updates have no second one.

    async def _handle(self, method: str, params: Any, is_notification: bool) -> Any:
        if method == UPDATE and is_notification:
            return self._update(params)
        if method == PERMISSION and not is_notification:
            return await self._permission(params)
        if is_notification and method.startswith(("_", "$/")):
            return None  # extensions, which an agent may send to anybody
        if not is_notification and method in _NOT_OFFERED:
            raise RequestError.method_not_found(method)  # some try all the same, and do without
        self._faults.report(f"An unknown {'notification' if is_notification else 'request'}: {method[:200]}")
        if is_notification:
            return None
        raise RequestError.method_not_found(method)

    def _update(self, params: Any) -> None:
        try:
            notification = schema.SessionNotification.model_validate(params)
        except ValidationError as error:
            self._faults.report(_explain(UPDATE, error), canonical(params))
            return
        if self._is_replaying:
            return
        if notification.session_id != self.session_id:
            if self.session_id:  # before that, an agent may speak of the session it is about to name
                self._faults.report(f"An update of another session: {notification.session_id[:100]}")
            return
        self.translator.update(notification.update)

    async def _permission(self, params: Any) -> Message:
        try:
            call_update = schema.ToolCallUpdate.model_validate(params.get("toolCall"))
        except (AttributeError, ValidationError) as error:
            self._faults.report(_explain(PERMISSION, error), canonical(params))
            raise RequestError.invalid_params({"details": "toolCall does not fit"}) from error
        options = self._options(params.get("options"))
        if not options or self._stop_asking.is_set():
            return CANCELLED
        question = self._question(call_update, options)
        asking = asyncio.ensure_future(self._host.ask(question))
        stopping = asyncio.ensure_future(self._stop_asking.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            chosen = asking.result().option_id if asking.done() else None
        finally:
            stopping.cancel()
            if not asking.done():
                asking.cancel()
                await asyncio.wait({asking})
        if chosen is None or chosen not in {option.option_id for option in options}:
            return CANCELLED
        return {"outcome": {"outcome": "selected", "optionId": chosen}}

    def _question(self, update: schema.ToolCallUpdate, options: Sequence[ApprovalOption]) -> Question:
        """The question, with what earlier updates said of the call: a request may carry its id and nothing else."""
        workspace = self._host.workspace
        call = self.translator.upsert(update)
        command = command_of(call.raw_input)
        diffs = [item.path for item in call.content if item.type == "diff"]
        paths = shown_paths([*call.paths, *paths_of(call.raw_input), *diffs], workspace)
        exact = update.model_dump(mode="json", by_alias=True, exclude={"field_meta", "status"})
        actions = actions_of(request_of(call, self._host.spec.runtime.preset), place_of(workspace))
        return Question(
            kind=gravest(actions),
            actions=actions,
            title=call.title or clip(command, TITLE_CHARS) or ", ".join(paths)[:TITLE_CHARS] or "An unnamed action",
            options=options,
            action=canonical({"call": exact, "input": call.raw_input, "kind": call.kind, "title": call.title}),
            tool_call_id=call.id,
            command=clip(command, COMMAND_BYTES),
            paths=paths,
            content=_proposed(call),
        )

    def _options(self, raw: Any) -> list[ApprovalOption]:
        """The agent's options that can be answered with, as it gave them; others are left out and reported."""
        options: dict[str, ApprovalOption] = {}
        for item in raw[:OPTIONS] if isinstance(raw, list) else []:
            try:
                option = schema.PermissionOption.model_validate(item)
            except ValidationError as error:
                self._faults.report(_explain("an option of a permission request", error), canonical(item))
                continue
            if len(option.option_id) > OPTION_ID_CHARS:
                self._faults.report(f"An option's id of {len(option.option_id):,} characters", option.option_id)
                continue
            name = clip(option.name, TITLE_CHARS)
            options[option.option_id] = ApprovalOption(option_id=option.option_id, name=name, kind=option.kind)
        return list(options.values())


def _proposed(call: Call) -> list[ToolContent]:
    """Changes of files before all else: that is what the reviewer has to see. Some agents send them as input only."""
    patch = call.raw_input.get("diff") if isinstance(call.raw_input, dict) else None
    has_change = any(item.type == "diff" for item in call.content)
    extra = (
        [ToolContent(type="text", text=clip(patch, TEXT_BYTES))] if isinstance(patch, str) and not has_change else []
    )
    return extra + sorted(call.content, key=lambda item: item.type != "diff")


def _explain(what: str, error: Exception) -> str:
    """The first fault of a validation, without the input (which is the excerpt's matter)."""
    if not isinstance(error, ValidationError):
        return f"{what} does not fit: {error}"
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])[:200]
    return f"{what} does not fit: {where}: {first['msg']}"
