"""The one wrapper around the doors beside Django's request stack, and the table of them.

What Django does for its views is done here for these: host check, origin check for
cookies, writes by bearer only, bounded bodies and time, request id, trusted proxies,
rate limit, the error shape, metrics. Authentication and services are the same.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

import structlog
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import InterfaceError, OperationalError
from prometheus_client import Gauge

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.address import client_address
from agenthub_site.accounts.admission import Caller, admit, credential_of, recall
from agenthub_site.engines import Receive, Scope, Send
from agenthub_site.errors import MethodNotAllowed, Throttled, as_hub_error
from agenthub_site.logs import request_id_of
from agenthub_site.mcp_door import Whole, as_jsonrpc, door
from agenthub_site.metrics import REGISTRY, REQUEST_SECONDS
from agenthub_site.origins import check_any_origin, check_host, check_origin
from agenthub_site.rates import Rates
from agenthub_site.refused import count_scope
from agents.events_app import list_events, stream_approvals, stream_events
from agents.mail import doors as mail
from audit.refusals import refusals
from nodes.contract.errors import Forbidden, HubError, Invalid, TooLarge, Unauthenticated, Unavailable
from nodes.contract.ids import uuid_of

logger = structlog.get_logger(__name__)

DEADLINE_SECONDS: Final = 30.0
SEND_SECONDS: Final = 60.0
"""A client that takes nothing for this long is dropped; it can come back and read on."""
BODY_BYTES: Final = 1024 * 1024
QUERY_BYTES: Final = 4 * 1024
MAX_STREAMS: Final = 10_000
OPEN_STREAMS: Final = Gauge("agenthub_open_streams", "Live readers, by door.", ["door"], registry=REGISTRY)
CALLS: Final = Rates(per_second=200, burst=2_000)
"""Per actor."""
REFUSALS: Final = Rates(per_second=5, burst=100)
"""Failed authentications per address; once they are used up the address is not heard at all."""


class DeadlineExceeded(Unavailable):
    code, http, grpc = "deadline_exceeded", 503, "DEADLINE_EXCEEDED"
    message = "This took too long; try again, or ask for less."


@dataclass(frozen=True, slots=True)
class HotRequest:
    """What a door gets: who calls, what the path named, and what came with it."""

    caller: Caller
    id: UUID
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


Answer = bytes | Whole | AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Route:
    """A door: what it is called in OpenAPI, and who answers. An iterator as the answer is streamed as SSE.

    ``shape`` is how its refusals look, if not as all others do; such a door is not in OpenAPI.
    """

    method: str
    path: str
    name: str
    summary: str
    answer: Callable[[HotRequest], Awaitable[Answer]]
    parameters: tuple[tuple[str, str, str], ...] = ()
    """(name, ``query`` or ``header``, description), all optional."""
    is_stream: bool = False
    body: tuple[tuple[str, str], ...] = ()
    """(field, description) of what is sent as JSON."""
    body_bytes: int = 0
    deadline_seconds: float = DEADLINE_SECONDS
    shape: Callable[[HubError], dict[str, Any]] | None = None
    is_recalled: bool = False
    """Its callers come many times a second: who they are is asked anew after a moment, and not each time."""


async def _list_events(request: HotRequest) -> Answer:
    return await list_events(request.caller, request.id, request.query)


async def _stream_events(request: HotRequest) -> Answer:
    return await stream_events(request.caller, request.id, request.query, request.headers)


async def _send_message(request: HotRequest) -> Answer:
    return await mail.send(request.caller, request.body)


async def _list_inbox(request: HotRequest) -> Answer:
    return await mail.list_inbox(request.caller, request.query)


async def _receive(request: HotRequest) -> Answer:
    return await mail.receive(request.caller, request.body)


async def _ack(request: HotRequest) -> Answer:
    return await mail.ack(request.caller, request.body)


async def _stream_inbox(request: HotRequest) -> Answer:
    return mail.stream_inbox(request.caller)


async def _stream_approvals(request: HotRequest) -> Answer:
    return stream_approvals(request.caller)


async def _answer_mcp(request: HotRequest) -> Answer:
    check_any_origin(request.headers)
    return await door.answer(request.caller, request.body)


MAIL_BYTES: Final = 80 * 1024
"""Of a message's body: the payload, and what is around it."""
_AFTER: Final = ("after", "query", "The number of the last event read; 0 for all.")
ROUTES: Final = (
    Route(
        "GET",
        "/api/v1/runs/{id}/events",
        "run_events",
        "A run's events after a number, oldest first.",
        _list_events,
        (_AFTER, ("limit", "query", "Events at most: 500, up to 5,000.")),
    ),
    Route(
        "GET",
        "/api/v1/runs/{id}/events/stream",
        "run_event_stream",
        "A run's events as they happen, as server-sent events.",
        _stream_events,
        (_AFTER, ("Last-Event-ID", "header", "As `after`, and wins over it.")),
        is_stream=True,
    ),
    Route(
        "GET",
        "/api/v1/approvals/stream",
        "approval_stream",
        "How many approvals wait for you, as server-sent events; what waits is read at `/api/v1/approvals/`.",
        _stream_approvals,
        is_stream=True,
    ),
    Route(
        "POST",
        "/api/v1/messages",
        "messages_send",
        "Write to agents and people of a project; durable once it is answered.",
        _send_message,
        body=(
            ("to", "Names or addresses: mender, agent:ID, user:bob; or a team alone: team:all, team:docs."),
            ("payload", "Any JSON, at most 64 KiB and 32 levels."),
            ("project", "A slug or id; needed where you see several projects."),
            ("subject", "At most 200 characters."),
            ("kind", "A word such as question; message, if left out."),
            ("reply_to", "The id of a message that you sent or got."),
            ("dedupe_key", "The same key and content is the same message; other content is refused."),
            ("run_id", "The run that this belongs to."),
            ("hop_count", "The least that it counts as passed on; up to 16."),
        ),
        body_bytes=MAIL_BYTES,
    ),
    Route(
        "GET",
        "/api/v1/inbox",
        "inbox_read",
        "A page of your inbox, oldest first; reading changes nothing.",
        _list_inbox,
        (
            ("after", "query", "The number of the last delivery read; 0 for all."),
            ("limit", "query", "Deliveries at most: 50, up to 500."),
            ("run_id", "query", "Only what belongs to this run."),
            ("state", "query", "`open` (queued or leased), `queued`, `leased`, `acked` or `dead`; all, if left out."),
        ),
    ),
    Route(
        "POST",
        "/api/v1/inbox/receive",
        "inbox_receive",
        "Lease what is due, and wait up to 30 s for it if `wait` says so; what is not acked in time comes again.",
        _receive,
        body=(
            ("limit", "Deliveries at most: 10, up to 500."),
            ("lease_seconds", "How long they are yours: 60, from 1 to 43,200."),
            ("wait", "Seconds to wait if nothing is due: 0, up to 30."),
            ("run_id", "Only what belongs to this run."),
        ),
        body_bytes=MAIL_BYTES,
        deadline_seconds=60.0,
    ),
    Route(
        "POST",
        "/api/v1/inbox/ack",
        "inbox_ack",
        "Settle deliveries by message id or number; each is told whether that changed anything.",
        _ack,
        body=(
            ("message_ids", "Ids of messages, or their numbers in your inbox; up to 500."),
            ("run_id", "Only what belongs to this run."),
        ),
        body_bytes=MAIL_BYTES,
    ),
    Route(
        "GET",
        "/api/v1/inbox/stream",
        "inbox_stream",
        "That you have mail, as server-sent events; what came is read at `/api/v1/inbox`.",
        _stream_inbox,
        is_stream=True,
    ),
    Route(
        "POST",
        "/mcp",
        "mcp",
        "The Model Context Protocol, over Streamable HTTP.",
        _answer_mcp,
        body_bytes=BODY_BYTES,
        shape=as_jsonrpc,
        is_recalled=True,
    ),
)
"""All of them; OpenAPI and the authorization matrix are made from it."""

_NOTHING: Final = UUID(int=0)
"""The id of a door whose path names none."""
_ID: Final = "([0-9a-fA-F-]{36})"
_PATTERNS: Final = [(re.compile(re.escape(route.path).replace(r"\{id\}", _ID) + "/?"), route) for route in ROUTES]


def match(path: str) -> tuple[list[Route], str] | None:
    """The routes at this path and the id in it; None leaves the request to Django."""
    routes, id_ = [], ""
    for pattern, route in _PATTERNS:
        if found := pattern.fullmatch(path):
            routes.append(route)
            id_ = found[1] if pattern.groups else str(_NOTHING)
    return (routes, id_) if routes else None


async def serve(routes: list[Route], id_: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one HTTP request to a hot door."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    call = _Call(scope, headers, receive, send)
    with structlog.contextvars.bound_contextvars(request=call.request_id):
        try:
            await call.answer(routes, id_)
        except Exception as error:
            refusal = as_hub_error(error)
            if refusal is None:
                logger.exception("hot.failed", path=scope["path"])
                refusal = HubError()
            await note_scope(scope, headers, refusal, call.actor)
            await call.send_error(refusal, routes[0])
        finally:
            call.note(routes[0])


class _Call:
    """One request on its way through the wrapper."""

    def __init__(self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        self.request_id = request_id_of(headers.get("x-request-id", ""))
        self._scope = scope
        self._headers = headers
        self._receive = receive
        self._send = send
        self._status = 0
        self.actor: Actor | None = None
        self._began = time.perf_counter()

    async def answer(self, routes: list[Route], id_: str) -> None:
        scope = self._scope
        check_host(scope, self._headers)
        route = next((route for route in routes if route.method == scope["method"]), None)
        if route is None:
            raise MethodNotAllowed(allowed=sorted(route.method for route in routes))
        check_origin(scope, self._headers)
        caller = await identify(scope, self._headers, recalled=route.is_recalled)
        self.actor = caller.actor
        secret, _, is_operator = credential_of(scope)
        if route.method != "GET" and not (secret or is_operator):
            raise Forbidden("This door is written to with a bearer token, not with a session.")
        async with _deadline(route.deadline_seconds):
            body = await self._body(route.body_bytes)
            answer = await route.answer(HotRequest(caller, _uuid(id_), _query(scope), self._headers, body))
        if isinstance(answer, bytes):
            await self._send_whole(200, b"application/json", answer)
        elif isinstance(answer, Whole):
            await self._start(answer.status, *answer.headers)
            await self._send_body(bytes(answer.body), more=False)
        else:
            await self._send_stream(route.name, answer)

    async def _body(self, most: int) -> bytes:
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Invalid("The request was cut off.")
            body += message.get("body", b"")
            if len(body) > most:
                raise TooLarge(f"The body has at most {most} bytes here.", limit=most)
            if not message.get("more_body"):
                return bytes(body)

    async def _send_whole(self, status: int, content_type: bytes, body: bytes, *more: tuple[bytes, bytes]) -> None:
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, (b"content-type", content_type), length, *more)
        await self._send_body(body, more=False)

    async def _send_stream(self, door: str, frames: AsyncGenerator[bytes, None]) -> None:
        """Frames as they come, until they end, the client leaves, or takes nothing for ``SEND_SECONDS``."""
        with counted(door):
            await self._start(200, (b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"))
            sending = asyncio.create_task(self._send_frames(frames))
            leaving = asyncio.create_task(self._until_gone())
            try:
                await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, leaving):
                    task.cancel()
                ended, _ = await asyncio.gather(sending, leaving, return_exceptions=True)
            if isinstance(ended, Exception) and not isinstance(ended, (TimeoutError, OSError)):
                logger.error("hot.stream_failed", door=door, exc_info=ended)

    async def _send_frames(self, frames: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(frames):
            async for frame in frames:
                await self._send_body(frame, more=True)
        await self._send_body(b"", more=False)

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _start(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        self._status = status
        always = ((b"x-request-id", self.request_id.encode()), (b"cache-control", b"no-store"))
        hardening = ((b"x-content-type-options", b"nosniff"),)
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *always, *hardening]})

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def send_error(self, refusal: HubError, route: Route) -> None:
        if self._status:
            return  # the answer had begun: all that can be done is to end it
        headers = []
        if refusal.http == HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        if refusal.http in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            headers.append((b"retry-after", b"2"))
        if isinstance(refusal, MethodNotAllowed):
            headers.append((b"allow", ", ".join(refusal.data["allowed"]).encode()))
        body = route.shape(refusal) if route.shape else refusal.as_json()
        await self._send_whole(refusal.http, b"application/json", json.dumps(body).encode(), *headers)

    def note(self, route: Route) -> None:
        if not route.is_stream or self._status != HTTPStatus.OK:
            seconds = time.perf_counter() - self._began
            REQUEST_SECONDS.labels(self._scope["method"], route.path, str(self._status)).observe(seconds)


async def note_scope(scope: Scope, headers: Mapping[str, str], error: HubError, actor: Actor | None = None) -> None:
    """Put a refusal in the trail, or count it there."""
    if due := count_scope(scope, headers, error, actor):
        await sync_to_async(refusals.write)(due)


async def identify(scope: Scope, headers: Mapping[str, str], *, recalled: bool = False) -> Caller:
    """Who calls, within their rate. Addresses that keep failing are not heard for a while.

    ``recalled`` is with an answer that may be a moment old.
    """
    peer = (scope.get("client") or ("",))[0] or ""
    forwarded = headers.get("x-forwarded-for", "")
    address = client_address(peer, forwarded, settings.CONFIG.server.trusted_proxies) or "local"
    if not REFUSALS.has(address):
        raise Throttled("Too many failed attempts from this address; wait a while.")
    try:
        async with _deadline():
            caller = await (recall(scope) if recalled else admit(scope))
    except Unauthenticated:
        REFUSALS.take(address)
        raise
    except (OperationalError, InterfaceError) as error:  # our failure, and none of the caller's
        raise as_hub_error(error) or error from error
    if not CALLS.take(caller.actor.id):
        raise Throttled()
    return caller


class counted:
    """``with counted(door)``: one more open stream, while there is room. Raises ``Unavailable``."""

    total = 0

    def __init__(self, door: str) -> None:
        self._door = door

    def __enter__(self) -> None:
        if counted.total >= MAX_STREAMS:
            raise Unavailable("Too many live readers are connected here; try again.")
        counted.total += 1
        OPEN_STREAMS.labels(self._door).inc()

    def __exit__(self, *_: object) -> None:
        counted.total -= 1
        OPEN_STREAMS.labels(self._door).dec()


class _deadline:
    """``async with _deadline()``: ``DeadlineExceeded`` instead of a time-out."""

    def __init__(self, seconds: float = DEADLINE_SECONDS) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError:
            raise DeadlineExceeded from None


def _uuid(text: str) -> UUID:
    found = uuid_of(text)
    if found is None:
        raise Invalid("The id in the path is not a UUID.")
    return found


def _query(scope: Scope) -> dict[str, str]:
    raw = scope.get("query_string", b"")
    if len(raw) > QUERY_BYTES:
        raise Invalid("The query string is too long.")
    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))
