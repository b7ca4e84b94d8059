"""Calls of agents within runs, which come over their nodes' links: ``agenthub actor`` without any secret."""

import asyncio
import json
from typing import Any, Final
from uuid import UUID

import structlog

from agenthub_site import mcp_door
from agenthub_site.errors import as_hub_error
from agents.mail.acting import Acting, acting_in_run
from agents.mail.actor_calls import call
from agents.reading import in_thread
from nodes.contract.errors import HubError, Invalid, OutcomeUnknown, Unavailable
from nodes.contract.ids import uuid_of
from nodes.contract.limits import CHUNK_BYTES
from nodes.link.errors import LinkError
from nodes.link.link import HubEnd
from nodes.pb import link_pb2 as pb

logger = structlog.get_logger(__name__)

AT_ONCE: Final = 256
"""Calls of one node under way at most."""
RUN_CALLS: Final = 32
"""And of one run: more than its node lets through, with what that has given up waiting for."""
CALL_SECONDS: Final = 60.0
MCP: Final = "mcp"
"""The verb of ``agenthub mcp``: a message of that protocol, whose tools are those of ``/mcp``."""


class ActorCalls:
    """Those of one link. What cannot be answered because the link is gone is asked again by the node."""

    def __init__(self, link: HubEnd, node_id: UUID) -> None:
        self._link = link
        self._node_id = node_id
        self._answering: dict[asyncio.Task[None], str] = {}
        """Each with its run."""

    def take(self, asked: pb.ActorCall) -> None:
        """Begin to answer; the link goes on being read meanwhile. What is too much is refused and not kept."""
        of_run = sum(run_id == asked.run_id for run_id in self._answering.values())
        if len(self._answering) >= AT_ONCE or of_run >= RUN_CALLS:
            self._refuse(asked)
            return
        task = asyncio.create_task(self._answer(asked))
        self._answering[task] = asked.run_id
        task.add_done_callback(self._answering.pop)

    async def stop(self) -> None:
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def _refuse(self, asked: pb.ActorCall) -> None:
        """At once or, where the link has no room for it, not at all: the node's own wait for an answer is bounded."""
        refusal = Unavailable("This node's agents, or this run, ask too much at once; try again.")
        answer = pb.ActorAnswer(id=asked.id, data=json.dumps(refusal.as_json()).encode())
        try:
            is_said = self._link.try_send(pb.HubFrame(actor_answer=answer))
        except LinkError:
            is_said = False
        logger.info("actor.refused", verb=asked.verb[:64], is_said=is_said)

    async def _ask(self, by: Acting, asked: pb.ActorCall) -> dict[str, Any]:
        if asked.verb == MCP and by.run_id is not None:
            return await mcp_door.door.answer_in_run(by, by.run_id, asked.body)
        return await call(by, asked.verb, asked.body)

    async def _answer(self, asked: pb.ActorCall) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                acting = await in_thread(acting_in_run, self._node_id, _uuid(asked.run_id))
                answer: dict[str, Any] = {"result": await self._ask(acting, asked)}
        except TimeoutError:
            answer = OutcomeUnknown().as_json()
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
    found = uuid_of(text)
    if found is None:
        raise Invalid("A call names the run that it comes from.")
    return found
