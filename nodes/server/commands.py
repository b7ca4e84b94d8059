"""The hub's commands: on the disk before they are accepted, answered the same however often they come."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError

from nodes.contract.commands import BODIES, Body, CancelRun, StartRun
from nodes.pb import link_pb2 as pb

from .commandlog import Accepted, Answer
from .holding import HeldRuns
from .rundir import RunDir, Standing

logger = structlog.get_logger(__name__)

MESSAGE_CHARS = 500


@dataclass(slots=True)
class _Line:
    """Commands of one run wait in line, whichever connection brought them."""

    lock: asyncio.Lock
    waiting: int = 0


class CommandDesk:
    """Answers commands. Refusals that mean "not now" (``capacity``, ``busy``) are not kept: they may come again."""

    def __init__(self, runs: HeldRuns, capacity: int) -> None:
        self._runs = runs
        self._capacity = capacity
        self._lines: dict[str, _Line] = {}
        self._starting = 0
        self.is_stopping = False
        self.clock_behind_seconds = 0.0
        """How much this machine's clock is behind the hub's, which sets the times of commands."""

    async def answer(self, command: pb.Command) -> pb.CommandResult:
        """Accept or reject; what is accepted is on stable storage, and on its way to the run."""
        async with self._in_line(command.run_id):
            answer = await self._answer(command)
        logger.info(
            "command.answered",
            run=command.run_id, kind=command.kind, command=command.id, accepted=answer.accepted, code=answer.code,
        )  # fmt: skip
        return pb.CommandResult(
            id=command.id, accepted=answer.accepted, code=answer.code, message=answer.message[:MESSAGE_CHARS]
        )

    async def _answer(self, command: pb.Command) -> Answer:
        try:
            UUID(command.id)
            directory = RunDir(self._runs.directory, command.run_id)
        except ValueError as error:
            return Answer(False, "bad_command", f"A command needs the ids of itself and of its run: {error}")
        if (stored := await asyncio.to_thread(directory.commands.answer_of, command.id)) is not None:
            return stored
        body = _parse(command)
        standing = directory.standing()
        if isinstance(body, Answer):
            return await self._reject(directory, standing, command.id, body)
        if command.not_after_ms and (time.time() + self.clock_behind_seconds) * 1000 > command.not_after_ms:
            late = Answer(False, "expired", "The command arrived after its time.")
            return await self._reject(directory, standing, command.id, late)
        if isinstance(body, StartRun):
            return await self._start(directory, standing, command.id, body)
        if isinstance(body, CancelRun) and standing in (Standing.UNKNOWN, Standing.BURIED, Standing.ENDED):
            return await asyncio.to_thread(_cancel_before_or_after, directory, standing, command.id)
        if standing is Standing.UNKNOWN:
            return Answer(False, "unknown_run", "This node does not know the run.")
        if standing in (Standing.ENDED, Standing.BURIED):
            ended = Answer(False, "run_ended", "The run has ended.")
            return await self._reject(directory, standing, command.id, ended)
        return await self._pass_on(directory, command, body)

    async def _start(self, directory: RunDir, standing: Standing, id_: str, spec: StartRun) -> Answer:
        if standing is Standing.BURIED:
            return await asyncio.to_thread(_answer_for_the_buried, directory, id_)
        if standing is not Standing.UNKNOWN:  # known already: nothing is started
            self._runs.hold(directory)
            return await asyncio.to_thread(_accept_start, directory, id_)
        if self.is_stopping:
            return Answer(False, "busy", "The node server is stopping.")
        if self._is_occupied():
            self._runs.notice_endings()
        if self._is_occupied():
            return Answer(
                False, "capacity", f"The node executes {self._capacity} runs at once, and all places are taken."
            )
        if self._runs.is_full:
            return Answer(False, "busy", "The node's spool is full: the hub has to take records first.")
        self._starting += 1
        try:
            answer = await asyncio.to_thread(_accept_start, directory, id_, spec)
            self._runs.hold(directory)
        except OSError as error:
            return Answer(False, "busy", f"The node's disk does not take the run: {error.strerror}.")
        finally:
            self._starting -= 1
        return answer

    def _is_occupied(self) -> bool:
        """Whether every place is taken, by a run or by one that is about to begin."""
        return self._runs.live_count + self._starting >= self._capacity

    async def _pass_on(self, directory: RunDir, command: pb.Command, body: Body) -> Answer:
        fields: dict[str, Any] = body.model_dump(mode="json")
        accepted = Accepted(command.id, command.kind, fields)
        try:
            answer = await asyncio.to_thread(directory.commands.accept, accepted.id, accepted.kind, accepted.body)
        except OSError as error:
            return Answer(False, "busy", f"The node's disk does not take the command: {error.strerror}.")
        await self._runs.hold(directory).forward(accepted)
        return answer

    async def _reject(self, directory: RunDir, standing: Standing, id_: str, answer: Answer) -> Answer:
        """Kept where the run is known; a run that is not known gets no directory for a refusal."""
        if standing is Standing.UNKNOWN:
            return answer
        return await asyncio.to_thread(directory.commands.reject, id_, answer.code, answer.message)

    @asynccontextmanager
    async def _in_line(self, run_id: str) -> AsyncIterator[None]:
        line = self._lines.setdefault(run_id, _Line(asyncio.Lock()))
        line.waiting += 1
        try:
            async with line.lock:
                yield
        finally:
            line.waiting -= 1
            if not line.waiting:
                del self._lines[run_id]


def _parse(command: pb.Command) -> Body | Answer:
    """The command's body, or the rejection that it deserves."""
    model = BODIES.get(command.kind)
    if model is None:
        return Answer(
            False, "bad_command", f"This node does not know the command {command.kind!r}; is it older than the hub?"
        )
    try:
        body = model.model_validate_json(command.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        return Answer(False, "bad_command", f"The {command.kind} command does not fit: {where}: {first['msg']}")
    if getattr(body, "run", command.run_id) != command.run_id:
        return Answer(False, "bad_command", "The command's body names another run than its envelope.")
    return body


def _accept_start(directory: RunDir, id_: str, spec: StartRun | None = None) -> Answer:
    """The spec first: what is accepted can be started. The log keeps no second copy of the prompt."""
    if spec is not None:
        directory.write_spec(spec)
    answer = directory.commands.accept(id_, StartRun.KIND, {})
    directory.commands.mark_applied(id_)
    return answer


def _answer_for_the_buried(directory: RunDir, id_: str) -> Answer:
    stone = directory.tombstone()
    if stone is not None and stone.code == "cancelled":
        return directory.commands.reject(id_, "cancelled", "The run was cancelled before it was started here.")
    return _accept_start(directory, id_)


def _cancel_before_or_after(directory: RunDir, standing: Standing, id_: str) -> Answer:
    """Nothing is there to be stopped. A run that was never known must not start later either.

    The hub is told when it was not: a run that it believes to be at work here has no other way to its end.
    """
    if standing is Standing.UNKNOWN:
        directory.bury("cancelled")
    stone = directory.tombstone()
    code = "unknown_run" if stone is not None and stone.code == "cancelled" else ""
    answer = directory.commands.accept(id_, CancelRun.KIND, {}, code)
    directory.commands.mark_applied(id_)
    return answer
