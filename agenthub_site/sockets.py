"""WebSockets: the same checks as at the hot doors, then the Channels consumer for the path."""

import re
from typing import Any, Final
from uuid import UUID

import structlog

from agenthub_site.engines import Receive, Scope, Send
from agenthub_site.hot import counted, identify, note_scope
from agenthub_site.logs import request_id_of
from agenthub_site.origins import check_host, check_origin
from agents.consumers import ApprovalsConsumer, InboxConsumer, ProjectConsumer, RunConsumer
from nodes.contract.errors import HubError, NotFound

logger = structlog.get_logger(__name__)

_CONSUMERS: Final[dict[str, Any]] = {
    "runs": RunConsumer.as_asgi(),
    "projects": ProjectConsumer.as_asgi(),
    "approvals": ApprovalsConsumer.as_asgi(),
    "inbox": InboxConsumer.as_asgi(),
}
_WITHOUT_ID: Final = {"approvals", "inbox"}
"""Whose own, not a thing's."""
_PATH: Final = re.compile(r"/ws/(?:(runs|projects)/([0-9a-fA-F-]{36})|(approvals|inbox))/?")
_REFUSED: Final = 4403


async def serve(scope: Scope, receive: Receive, send: Send) -> None:
    """One WebSocket, from handshake to close.

    A wrong host, origin or path is refused in the handshake. Who calls is found out
    before it is accepted, and said after: a browser sees no status of a refused one.
    """
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    with structlog.contextvars.bound_contextvars(request=request_id_of(headers.get("x-request-id", ""))):
        try:
            check_host(scope, headers)
            check_origin(scope, headers)
            kind, id_ = _route(scope["path"])
            with counted(f"ws_{kind}"):
                scope = {**scope, "id": id_} if id_ else {**scope}
                try:
                    scope["caller"] = await identify(scope, headers)
                except HubError as error:
                    scope["refusal"] = error
                    await note_scope(scope, headers, error)
                await _CONSUMERS[kind](scope, receive, send)
        except HubError as error:
            logger.info("socket.refused", path=scope["path"], code=error.code)
            await note_scope(scope, headers, error)
            await receive()
            await send({"type": "websocket.close", "code": _REFUSED})


def _route(path: str) -> tuple[str, UUID | None]:
    """What is read, and whose; what waits for somebody has no id."""
    found = _PATH.fullmatch(path)
    if not found:
        raise NotFound
    if found[3]:
        return found[3], None
    try:
        return found[1], UUID(found[2])
    except ValueError:
        raise NotFound from None
