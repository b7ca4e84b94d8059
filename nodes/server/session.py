"""One connection to a hub, from the node's side: hello, welcome, then heartbeats, commands, records, blobs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from nodes.contract.errors import Conflict
from nodes.contract.ids import now_us
from nodes.contract.limits import HEARTBEAT_SECONDS
from nodes.link.link import NodeEnd
from nodes.pb import link_pb2 as pb

from .actors import ActorDoor
from .blobs import BlobSender
from .commands import CommandDesk
from .facts import Facts
from .forward import Forwarder
from .holding import HeldRuns
from .home import NodeHome

logger = structlog.get_logger(__name__)

WELCOME_SECONDS = 15.0
COMMANDS_AT_ONCE = 256


class StaleEpoch(Conflict):
    """The hub process that dialled does not own the node's link any more."""

    code = "stale_epoch"


async def _ignore(_: Sequence[str], __: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What all sessions of a node server share."""

    home: NodeHome
    facts: Facts
    runs: HeldRuns
    desk: CommandDesk
    hear_trust: Callable[[bytes], None] = lambda _: None
    """Told which authorities the hub trusts (``pki.trust_digest``), when a link begins and when they change."""
    hear_place: Callable[[Sequence[str], str], Awaitable[None]] = _ignore
    """Told where to dial the hub, and where its web door is, from now on, when a link begins and the hub says so."""
    actors: ActorDoor | None = None
    """Where agents call from within their runs."""


class Session:
    """Runs until the link is over. The newest epoch's session is the only one that the node listens to."""

    def __init__(self, link: NodeEnd, parts: Parts) -> None:
        self.link = link
        self._parts = parts
        self._heartbeats = 0
        self._room = asyncio.Semaphore(COMMANDS_AT_ONCE)
        self._answering: set[asyncio.Task[None]] = set()

    async def greet(self) -> pb.Welcome:
        """Say hello and hear the hub's epoch. Raises ``StaleEpoch`` for an owner of the past."""
        home = self._parts.home
        await self._parts.facts.wait_for_first_look()
        hello = self._parts.facts.hello(self._parts.runs.describe(), home.epoch, self.link.speaks)
        await self.link.send(pb.NodeFrame(hello=hello))
        welcome = await self.link.welcome(WELCOME_SECONDS)
        if welcome.epoch < home.epoch:
            raise StaleEpoch(
                f"This hub process comes with epoch {welcome.epoch}; the node has seen {home.epoch}, "
                "so another process owns its link.",
                epoch=home.epoch,
            )
        await asyncio.to_thread(home.keep_epoch, welcome.epoch)
        if welcome.HasField("trust"):
            self._parts.hear_trust(welcome.trust.digest)
        if welcome.addresses or welcome.web:
            await self._parts.hear_place(list(welcome.addresses), welcome.web)
        return welcome

    async def run(self, welcome: pb.Welcome) -> None:
        """Serve the link until it is cut (``LinkError``) or closed."""
        forwarder = Forwarder(self.link, self._parts.runs, welcome)
        blobs = BlobSender(self.link, self._parts.runs)
        self._parts.runs.listener = forwarder.news
        self._parts.runs.is_linked = True
        if self._parts.actors is not None:
            self._parts.actors.linked(self.link)
        jobs = [
            asyncio.create_task(body, name=f"session-{name}")
            for name, body in (
                ("receive", self._receive(forwarder, blobs, welcome.epoch)),
                ("heartbeats", self._beat()),
                ("records", forwarder.run()),
                ("blobs", blobs.run()),
            )
        ]
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                job.result()
        finally:
            self._parts.runs.is_linked = False
            if self._parts.actors is not None:
                self._parts.actors.unlinked(self.link)
            if self._parts.runs.listener == forwarder.news:
                self._parts.runs.listener = None
            for task in jobs:
                task.cancel()
            # Commands under way are finished: what was accepted on the disk has to be started as well.
            await asyncio.gather(*jobs, *self._answering, return_exceptions=True)

    def say_facts(self) -> None:
        """The machine's facts have changed."""
        self.link.try_send(pb.NodeFrame(hello=self._parts.facts.hello([], self._parts.home.epoch, self.link.speaks)))

    async def _receive(self, forwarder: Forwarder, blobs: BlobSender, epoch: int) -> None:
        async for frame in self.link.frames():
            kind = frame.WhichOneof("frame")
            if kind == "ack":
                forwarder.acknowledged(frame.ack)
            elif kind == "file_ack":
                blobs.answered(frame.file_ack)
            elif kind == "heartbeat":
                self._parts.desk.clock_behind_seconds = (frame.heartbeat.clock_us - now_us()) / 1_000_000
            elif kind == "trust":
                self._parts.hear_trust(frame.trust.digest)
            elif kind == "actor_answer":
                if self._parts.actors is not None:
                    self._parts.actors.answered(frame.actor_answer)
            elif kind == "command":
                await self._room.acquire()
                task = asyncio.create_task(self._answer(frame.command, epoch))
                self._answering.add(task)
                task.add_done_callback(self._answered)

    async def _answer(self, command: pb.Command, epoch: int) -> None:
        if command.epoch and command.epoch < epoch:
            result = pb.CommandResult(id=command.id, code="stale_epoch", message="The command's epoch is over.")
        else:
            result = await self._parts.desk.answer(command)
        await self.link.send(pb.NodeFrame(result=result))

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None and self.link.is_open:
            logger.error("command.unanswered", exc_info=error)

    async def _beat(self) -> None:
        while True:
            self._heartbeats += 1
            beat = self._parts.facts.heartbeat(self._heartbeats, self._parts.runs.live_count)
            await self.link.send(pb.NodeFrame(heartbeat=beat))
            await asyncio.sleep(HEARTBEAT_SECONDS)
