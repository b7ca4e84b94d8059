"""A bound on bodies before anything reads them: Django would put all of one on disk before it asks who sent it."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

from agenthub_site.errors import too_large

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class _TooMuch(Exception):
    """More of a body came than is allowed."""


def limit_body(app: App) -> App:
    """The application, with bodies refused that say or turn out to be over ``DATA_UPLOAD_MAX_MEMORY_SIZE``."""
    limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    async def limited(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _TooMuch
            return message

        if announced_length(scope) > limit:
            await refuse(send)
            return
        try:
            await app(scope, counted, send)
        except _TooMuch:  # Django reads a body whole before it answers anything
            await refuse(send)

    return limited


def announced_length(scope: MutableMapping[str, Any]) -> int:
    """What ``Content-Length`` says; 0 if it says nothing or nonsense."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


async def refuse(send: Send) -> None:
    """413 in the one error shape, and the end of the connection: the rest of the body is not read."""
    refusal = too_large()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refusal.http, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(refusal.as_json()).encode()})
