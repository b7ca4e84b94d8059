"""Mail beside Django's request stack: sending, one's inbox, its live bell. ``agenthub_site.hot`` knows HTTP."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Collection, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.admission import Caller
from audit.bell import bell
from mailboxes.reading import last_number, mails_of, next_due
from mailboxes.sending import Draft, Sent
from mailboxes.services import claim, post_async, settling
from mailboxes.settling import Claim, write_acks, write_claims
from mailboxes.writer import writer
from nodes.contract.errors import HubError

from ..reading import in_thread
from ..stream import GUARD_SECONDS, HEARTBEAT_SECONDS, as_json
from .addressing import address_of
from .bounds import Posting, posting_of
from .desk import prepare, projects_of, read_inbox, require_own, told_of
from .shapes import AckIn, InboxIn, ReceiveIn, SendIn, read_shape, show_acked, show_mails, show_sent

RECONNECT_MS: Final = 1_000
PACE_SECONDS: Final = 0.1
"""A reader is told at most once in this time."""
_AGAIN_SECONDS: Final = 1.0
"""A delivery whose lease runs out is due again within this time, once the sweep has seen it."""

Query = Mapping[str, str]


async def send(caller: Caller, body: bytes) -> bytes:
    """``POST /api/v1/messages``: durable once it is answered."""
    return _json(show_sent(await send_for(caller.actor, read_shape(SendIn, body))))


async def send_for(actor: Actor, given: SendIn, *, within: UUID | None = None) -> Sent:
    """An actor's message, durable once this returns. Raises what ``prepare`` does, and for what bounds it."""
    made, bounded = await in_thread(_prepared, actor, given, within)
    return await in_thread(bounded) if bounded else await post_async(made)


def _prepared(actor: Actor, given: SendIn, within: UUID | None) -> tuple[Draft, Posting | None]:
    made = prepare(actor, given, within=within)
    return made, posting_of(made)


async def list_inbox(caller: Caller, query: Query) -> bytes:
    """``GET /api/v1/inbox``: a page of the caller's inbox; changes nothing."""
    return _json(await in_thread(read_inbox, caller.actor, read_shape(InboxIn, dict(query))))


async def receive(caller: Caller, body: bytes) -> bytes:
    """``POST /api/v1/inbox/receive``: lease what is due; wait for it, if the body says so."""
    require_own(caller.actor)
    given = read_shape(ReceiveIn, body)
    return _json({"results": await receive_waiting(caller.actor, given)})


async def receive_waiting(actor: Actor, given: ReceiveIn, apart: Collection[UUID] = ()) -> list[dict[str, Any]]:
    """What is due, or what becomes due within ``given.wait`` seconds; empty if nothing does."""
    wanted = claim(
        address_of(actor), limit=given.limit, lease_seconds=given.lease_seconds, run_id=given.run_id,
        projects=projects_of(actor), apart=apart, key=given.key,
    )  # fmt: skip
    end = time.monotonic() + given.wait
    while True:
        looked_at = time.monotonic()
        last, due_at = await in_thread(_look, wanted)
        until_due = (due_at - timezone.now()).total_seconds() if due_at else given.wait
        if until_due <= 0 and (keys := await writer.write_async(write_claims, wanted)):
            return await in_thread(_shown, keys)
        left = end - time.monotonic()
        if left <= 0 or bell.is_closed:
            return []
        await bell.wait(wanted.recipient.stream, last, min(left, max(until_due, _AGAIN_SECONDS)))
        await asyncio.sleep(max(0.0, looked_at + PACE_SECONDS - time.monotonic()))


def _look(wanted: Claim) -> tuple[int, datetime | None]:
    """The inbox's last number, and when something in it is due: in this order, so that what comes in between rings."""
    last = last_number(wanted.recipient)
    return last, next_due(wanted.recipient, wanted.run_id, wanted.projects, wanted.apart, wanted.key)


def _shown(keys: list[tuple[int, int]]) -> list[dict[str, Any]]:
    return show_mails(mails_of(keys))


async def ack(caller: Caller, body: bytes) -> bytes:
    """``POST /api/v1/inbox/ack``: settle; for each id, in order, what came of it."""
    require_own(caller.actor)
    given = read_shape(AckIn, body)
    wanted = settling(
        address_of(caller.actor), given.message_ids, run_id=given.run_id, projects=projects_of(caller.actor)
    )
    return _json({"results": show_acked(await writer.write_async(write_acks, wanted))})


class InboxReader:
    """One reader of the news that its caller has mail. ``next`` until it answers None. What came is read by REST."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stream = address_of(caller.actor).stream
        self._heard = 0
        self._told_at = 0.0
        self._is_due = True

    async def next(self) -> dict[str, Any] | None:
        """``{"mail": {"last_number", "pending_count"}}`` at first and when something came, a heartbeat every 15 s.

        None: this process is stopping. Raises ``Unauthenticated`` within seconds of the credential's end.
        """
        beat_at = time.monotonic() + HEARTBEAT_SECONDS
        while not bell.is_closed:
            if self._is_due:
                await asyncio.sleep(max(0.0, self._told_at + PACE_SECONDS - time.monotonic()))
                return await self._tell("mail")
            now = time.monotonic()
            if now >= beat_at:
                return await self._tell("heartbeat")
            heard = await bell.wait(self._stream, self._heard, min(beat_at - now, GUARD_SECONDS))
            self._is_due, self._heard = heard > self._heard, heard
            await self._caller.now()
        return None

    async def _tell(self, name: str) -> dict[str, Any]:
        actor = await self._caller.now()
        self._is_due, self._told_at = False, time.monotonic()
        told = await in_thread(told_of, actor)
        self._heard = max(self._heard, told["last_number"])
        return {name: told}


def stream_inbox(caller: Caller) -> AsyncGenerator[bytes, None]:
    """That the caller has mail, as server-sent events: ``mail``, ``heartbeat``, ``refused``."""
    require_own(caller.actor)
    return _streamed(InboxReader(caller))


async def _streamed(reader: InboxReader) -> AsyncGenerator[bytes, None]:
    try:
        yield f"retry: {RECONNECT_MS}\n\n".encode()
        while (frame := await reader.next()) is not None:
            for name, data in frame.items():
                yield f"event: {name}\ndata: {as_json(data)}\n\n".encode()
    except HubError as error:
        yield f"event: refused\ndata: {as_json(error.as_json())}\n\n".encode()


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
