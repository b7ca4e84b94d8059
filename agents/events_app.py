"""A run's events over HTTP: a page of them, and the live stream as server-sent events.

Plain functions: the wrapper around them (``agenthub_site.hot``) knows HTTP.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Final
from uuid import UUID

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.admission import Caller
from nodes.contract.errors import HubError

from .reading import DEFAULT_LIMIT, READ_LIMIT, RunHead, encode, in_thread, number_in, read_events, read_head
from .stream import EVENTS, GAP, Frame, Kind, Reader, as_json, tails
from .watching import ApprovalsReader

EVENT_NAMES: Final = {GAP: "stream.gap"}
RECONNECT_MS: Final = 1_000

Query = Mapping[str, str]
Headers = Mapping[str, str]


async def list_events(caller: Caller, run_id: UUID, query: Query) -> bytes:
    """``{results, next, last_seq, state, reason}``: the events after ``after``, at most ``limit`` (500, up to 5,000).

    ``next`` is what to send as ``after`` next; all was read once it equals ``last_seq``.
    Large events make a page shorter than asked for.
    """
    after = number_in(query, "after", 0)
    limit = number_in(query, "limit", DEFAULT_LIMIT, READ_LIMIT)
    return await in_thread(_page, caller.actor, run_id, after, limit)


def _page(actor: Actor, run_id: UUID, after: int, limit: int) -> bytes:
    head = read_head(run_id, actor)
    rows = read_events(run_id, after, limit) if after < head.last_seq else []
    if rows and rows[-1].seq > head.last_seq:
        head = read_head(run_id)  # events came in between: say the state that goes with them
    results = ",".join([event.text for event in encode(head, rows)])
    position = rows[-1].seq if rows else after
    rest = as_json({"next": position, "last_seq": head.last_seq, "state": head.state, "reason": head.reason})
    return f'{{"results":[{results}],{rest[1:]}'.encode()


async def stream_events(caller: Caller, run_id: UUID, query: Query, headers: Headers) -> AsyncGenerator[bytes, None]:
    """The run as server-sent events, after ``Last-Event-ID`` or ``after``.

    Events come unnamed with their number as ``id``; ``state``, ``heartbeat``,
    ``stream.gap``, ``end`` and ``refused`` come by name and without one.
    """
    resumed = headers.get("last-event-id", "")
    after = number_in({"Last-Event-ID": resumed} if resumed else query, "Last-Event-ID" if resumed else "after", 0)
    await in_thread(read_head, run_id, caller.actor)
    return _frames(caller, run_id, after)


async def _frames(caller: Caller, run_id: UUID, after: int) -> AsyncGenerator[bytes, None]:
    async def guard(head: RunHead) -> None:
        await caller.check(head.project_id)

    try:
        async with tails.watch(run_id) as tail:
            reader = Reader(tail, after, Kind.SSE, guard)
            yield f"retry: {RECONNECT_MS}\n\n".encode()
            while (frame := await reader.next()) is not None:
                yield _sse(frame)
    except HubError as error:
        yield f"event: refused\ndata: {as_json(error.as_json())}\n\n".encode()


def _sse(frame: Frame) -> bytes:
    if frame.name == EVENTS:
        return frame.text.encode()
    return f"event: {EVENT_NAMES.get(frame.name, frame.name)}\ndata: {as_json(frame.data or {})}\n\n".encode()


async def stream_approvals(caller: Caller) -> AsyncGenerator[bytes, None]:
    """How many approvals wait for the caller, as server-sent events: ``approvals``, ``heartbeat``, ``refused``."""
    reader = ApprovalsReader(caller)
    try:
        yield f"retry: {RECONNECT_MS}\n\n".encode()
        while (frame := await reader.next()) is not None:
            for name, data in frame.items():
                yield f"event: {name}\ndata: {as_json(data)}\n\n".encode()
    except HubError as error:
        yield f"event: refused\ndata: {as_json(error.as_json())}\n\n".encode()
