"""A small HTTP/1.1 server for one connection, by h11: what the operator's socket needs, and no more.

Heads, bodies and idle time are bounded; answers are streamed, and wait for the client
to read them.
"""

import asyncio
import json
from collections.abc import Mapping
from http.client import responses
from typing import Any, Final
from urllib.parse import unquote

import h11

from agenthub_site.engines import App, Message

HEAD_BYTES: Final = 32 * 1024
BODY_BYTES: Final = 2 * 1024 * 1024
READ_BYTES: Final = 64 * 1024
IDLE_SECONDS: Final = 60.0
"""Between requests, and for each part of a request to arrive."""
SEND_SECONDS: Final = 60.0
"""A client that takes nothing for this long is dropped."""


class _Gone(OSError):
    """The client left, was idle for too long, or broke the protocol (and was told)."""


class Connection:
    """One client's connection, from accept to close."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def serve(self, app: App, extensions: Mapping[str, Any]) -> None:
        """Answer requests one after the other until the client leaves."""
        try:
            while True:
                request, body = await self._next_request()
                await self._answer(app, request, body, extensions)
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    return
                self._http.start_next_cycle()
        except _Gone:
            return

    async def refuse(self, status: int, code: str, message: str, **data: Any) -> None:
        """Read one request, so that its sender listens, and answer it with an error."""
        try:
            await self._next_request()
            await self._send_error(status, code, message, **data)
        except _Gone:
            return

    async def _next_request(self) -> tuple[h11.Request, bytes]:
        request: h11.Request | None = None
        body = bytearray()
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                await self._send_error(error.error_status_hint, "invalid", f"This is not a valid request: {error}")
                raise _Gone from error
            if event is h11.NEED_DATA:
                await self._read()
            elif isinstance(event, h11.Request):
                request = event
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_BYTES:
                    await self._send_error(413, "too_large", f"A request's body has at most {BODY_BYTES} bytes here.")
                    raise _Gone
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                return request, bytes(body)
            else:  # the connection was closed
                raise _Gone

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                data = await self._reader.read(READ_BYTES)
        except (TimeoutError, OSError) as error:
            raise _Gone from error
        self._http.receive_data(data)

    async def _answer(self, app: App, request: h11.Request, body: bytes, extensions: Mapping[str, Any]) -> None:
        target, _, query = request.target.partition(b"?")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": "https",  # nothing can listen in between: no redirect to a safer door
            "path": unquote(target.decode("ascii", "replace")),
            "raw_path": target,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": None,
            "server": None,
            "extensions": dict(extensions),
        }
        gone = asyncio.create_task(self._wait_until_gone())
        received = False

        async def receive() -> Message:
            nonlocal received
            if not received:
                received = True
                return {"type": "http.request", "body": body, "more_body": False}
            await asyncio.wait([gone])
            return {"type": "http.disconnect"}

        answering = asyncio.ensure_future(app(scope, receive, self._send_message))
        try:
            await asyncio.wait([answering, gone], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():  # the client left: what it asked for gets a moment to notice
                await asyncio.wait([answering], timeout=1)
            if not answering.done():
                raise _Gone
            answering.result()
        finally:
            answering.cancel()
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def _wait_until_gone(self) -> None:
        """Ends when the client closes; what it sends early is kept for the next request, once."""
        data = await self._reader.read(READ_BYTES)
        if data:
            self._http.receive_data(data)
            await asyncio.Event().wait()

    async def _send_message(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"connection"]
            status = message["status"]
            reason = responses.get(status, "").encode()
            await self._send(h11.Response(status_code=status, headers=headers, reason=reason))
        elif message["type"] == "http.response.body":
            if data := message.get("body", b""):
                await self._send(h11.Data(data=data))
            if not message.get("more_body", False):
                await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if not data:
            return
        self._writer.write(data)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._writer.drain()
        except (TimeoutError, OSError) as error:
            raise _Gone from error

    async def _send_error(self, status: int, code: str, message: str, **data: Any) -> None:
        body = json.dumps({"error": {"code": code, "message": message, "data": data}}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(h11.Response(status_code=status, headers=headers))
            await self._send(h11.Data(data=body))
            await self._send(h11.EndOfMessage())
