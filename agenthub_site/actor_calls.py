"""Calls of agents within runs, which come over their nodes' links: ``agenthub actor`` without any secret."""

import asyncio
import json
from typing import Any, Final
from uuid import UUID

import structlog

from agenthub_site.errors import as_hub_error
from agents.mail.acting import acting_in_run
from agents.mail.actor_calls import call
from agents.reading import in_thread
from nodes.contract.errors import HubError, Invalid, Unavailable
from nodes.contract.limits import CHUNK_BYTES
from nodes.link.errors import LinkError
from nodes.link.link import HubEnd
from nodes.pb import link_pb2 as pb

logger = structlog.get_logger(__name__)

AT_ONCE: Final = 64
"""Calls of one node under way at most."""
CALL_SECONDS: Final = 60.0


class ActorCalls:
    """Those of one link. What cannot be answered because the link is gone is asked again by the node."""

    def __init__(self, link: HubEnd, node_id: UUID) -> None:
        self._link = link
        self._node_id = node_id
        self._answering: set[asyncio.Task[None]] = set()

    def take(self, asked: pb.ActorCall) -> None:
        """Begin to answer; the link goes on being read meanwhile. What is too much is refused and not kept."""
        if len(self._answering) >= AT_ONCE:
            self._refuse(asked)
            return
        task = asyncio.create_task(self._answer(asked))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def stop(self) -> None:
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def _refuse(self, asked: pb.ActorCall) -> None:
        """At once or, where the link has no room for it, not at all: the node's own wait for an answer is bounded."""
        refusal = Unavailable("This node's agents ask too much at once; try again.")
        answer = pb.ActorAnswer(id=asked.id, data=json.dumps(refusal.as_json()).encode())
        try:
            is_said = self._link.try_send(pb.HubFrame(actor_answer=answer))
        except LinkError:
            is_said = False
        logger.info("actor.refused", verb=asked.verb[:64], is_said=is_said)

    async def _answer(self, asked: pb.ActorCall) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                acting = await in_thread(acting_in_run, self._node_id, _uuid(asked.run_id))
                answer: dict[str, Any] = {"result": await call(acting, asked.verb, asked.body)}
        except TimeoutError:
            answer = Unavailable("The hub took too long; try again.").as_json()
        except Exception as error:  # top of a call: whatever it is, the agent hears of it
            refusal = as_hub_error(error)
            if refusal is None:
                logger.exception("actor.failed", verb=asked.verb)
            answer = (refusal or HubError()).as_json()
        data = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            for start in range(0, len(data), CHUNK_BYTES):
                end = start + CHUNK_BYTES
                part = pb.ActorAnswer(id=asked.id, data=data[start:end], more=end < len(data))
                await self._link.send(pb.HubFrame(actor_answer=part))
        except LinkError as error:
            logger.info("actor.not_answered", verb=asked.verb, code=error.code)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Invalid("A call names the run that it comes from.") from None
