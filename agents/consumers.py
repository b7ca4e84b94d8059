"""WebSockets of a run and of a project, as Channels consumers. No channel layer: they read their streams."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final
from urllib.parse import parse_qsl

import structlog
from channels.generic.websocket import AsyncWebsocketConsumer

from agenthub_site.accounts.admission import Caller
from audit.bell import bell
from nodes.contract.errors import HubError, NotFound, TooLarge

from .answering import AnswerRefused, take_answer
from .mail.doors import InboxReader
from .reading import RunHead, in_thread, number_in, read_head
from .stream import EVENTS, GAP, Kind, Reader, as_json, tails
from .trail import TrailReader, read_trail_end
from .watching import ApprovalsReader

logger = structlog.get_logger(__name__)

SEND_SECONDS: Final = 60.0
"""A client that takes nothing for this long is dropped; it can come back and read on."""
CLIENT_MESSAGES: Final = 100
"""Readers only listen; one that keeps talking is cut off."""
CLIENT_ANSWERS: Final = 1_000
"""Of one socket that takes answers; whoever has more comes back."""
ANSWER_CHARS: Final = 4_096
NORMAL, INTERNAL, GOING_AWAY = 1000, 4500, 4503
"""Close codes: as HTTP's statuses, 4000 higher, since servers may not send most of the protocol's own."""


class LiveConsumer(AsyncWebsocketConsumer, ABC):
    """Sends ``frames`` until they end. A refusal is a frame ``{"error": …}``, then a close with 4000 + status."""

    channel_layer_alias = "none"

    async def connect(self) -> None:
        self._messages = 0
        self._sending: asyncio.Task[None] | None = None
        await self.accept()
        scope: Any = self.scope
        if refusal := scope.get("refusal"):
            await self._refuse(refusal)
        else:
            self._sending = asyncio.create_task(self._send_all(scope["caller"]))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self._messages += 1
        if self._messages > CLIENT_MESSAGES:
            await self._refuse(TooLarge("This socket is for reading."))
            self._stop()

    async def disconnect(self, code: int) -> None:
        self._stop()
        if self._sending:
            await asyncio.gather(self._sending, return_exceptions=True)

    def _stop(self) -> None:
        if self._sending:
            self._sending.cancel()

    @abstractmethod
    def frames(self, caller: Caller, after: int) -> AsyncGenerator[str, None]:
        """What to send, text by text. Raises ``HubError``."""

    async def _send_all(self, caller: Caller) -> None:
        try:
            query = dict(parse_qsl(self.scope.get("query_string", b"").decode("latin-1")))
            async with aclosing(self.frames(caller, number_in(query, "after", 0))) as frames:
                async for text in frames:
                    async with asyncio.timeout(SEND_SECONDS):
                        await self.send(text_data=text)
            await self.close(GOING_AWAY if bell.is_closed else NORMAL)
        except HubError as error:
            await self._refuse(error)
        except (TimeoutError, OSError):
            await self.close(INTERNAL)
        except Exception:
            logger.exception("socket.failed", path=self.scope["path"])
            await self.close(INTERNAL)

    async def _refuse(self, error: HubError) -> None:
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(SEND_SECONDS):
                await self.send(text_data=as_json(error.as_json()))
                await self.close(4000 + error.http)


class AnsweringConsumer(LiveConsumer):
    """Takes ``{"answer": {"approval_id", "option_id" | "outcome", "key"}}``, one after the other.

    Each is answered by ``{"answered": …}`` or ``{"refused": …}`` with the sender's ``key``, as REST would.
    """

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        scope: Any = self.scope
        self._answers = getattr(self, "_answers", 0) + 1
        if scope.get("refusal"):
            return
        if self._answers > CLIENT_ANSWERS or not text_data or len(text_data) > ANSWER_CHARS:
            await self._refuse(TooLarge("This socket is for reading, and for some answers."))
            self._stop()
            return
        try:
            answered = await take_answer(scope["caller"], text_data, run_id=scope.get("id"))
        except AnswerRefused as refused:
            answered = {"refused": {"key": refused.key, **refused.error.as_json()}}
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(SEND_SECONDS):
                await self.send(text_data=as_json(answered))


class ApprovalsConsumer(AnsweringConsumer):
    """``/ws/approvals/``: how many wait for the caller. ``approvals``, ``heartbeat``; and it takes answers."""

    async def frames(self, caller: Caller, after: int) -> AsyncGenerator[str, None]:
        reader = ApprovalsReader(caller)
        while (frame := await reader.next()) is not None:
            yield as_json(frame)


class InboxConsumer(LiveConsumer):
    """``/ws/inbox/``: that the caller has mail. ``mail``, ``heartbeat``."""

    async def frames(self, caller: Caller, after: int) -> AsyncGenerator[str, None]:
        reader = InboxReader(caller)
        while (frame := await reader.next()) is not None:
            yield as_json(frame)


class RunConsumer(AnsweringConsumer):
    """``/ws/runs/{id}/?after=N``: the run's stream; and it takes answers to what the run asks.

    Each frame has one key: ``state``, ``events``, ``heartbeat``, ``stream.gap``, ``end``.
    """

    async def frames(self, caller: Caller, after: int) -> AsyncGenerator[str, None]:
        scope: Any = self.scope
        run_id = scope["id"]
        await in_thread(read_head, run_id, caller.actor)

        async def guard(head: RunHead) -> None:
            await caller.check(head.project_id)

        async with tails.watch(run_id) as tail:
            reader = Reader(tail, after, Kind.JSON, guard)
            while (frame := await reader.next()) is not None:
                if frame.name == EVENTS:
                    yield frame.text
                else:
                    yield as_json({"stream.gap" if frame.name == GAP else frame.name: frame.data})


class ProjectConsumer(LiveConsumer):
    """``/ws/projects/{id}/?after=N``: what happens in a project, as ``events`` of its audit trail, and ``heartbeat``.

    Without ``after`` from now on. Who may not read the trail gets what becomes of runs, approvals and agents.
    """

    async def frames(self, caller: Caller, after: int) -> AsyncGenerator[str, None]:
        scope: Any = self.scope
        project_id = scope["id"]
        if not caller.actor.sees_all and project_id not in caller.actor.roles:
            raise NotFound()
        last = await in_thread(read_trail_end, project_id)
        is_given = b"after=" in self.scope.get("query_string", b"")
        reader = TrailReader(project_id, after if is_given else last, caller)
        while (frame := await reader.next()) is not None:
            yield as_json(frame)
