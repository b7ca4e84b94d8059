"""The node server's view of one run: its directory, its supervisor, and how far the hub has its records."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Protocol

import structlog

from nodes.contract.commands import CancelRun
from nodes.contract.errors import HubError
from nodes.contract.ids import new_id
from nodes.pb import link_pb2 as pb

from . import proc
from .commandlog import Accepted
from .control import Ended, NoSupervisor, Spooled, SupervisorClient
from .rundir import RunDir, Standing
from .spool import Position, SpoolReader, delete_acknowledged, generations_of, segments_of

logger = structlog.get_logger(__name__)

RETRY_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between attempts to reach a supervisor that should be there."""
PING_SECONDS = 10.0
FROZEN_SECONDS = 60.0
"""A supervisor that holds its lock and gives no sign of life for this long is killed, and its run settled."""


class Starter(Protocol):
    """Who starts supervisors, and ends the runs of those that died."""

    async def start(self, run_id: str) -> None:
        """Start the run's supervisor, once."""
        ...

    async def settle(self, run_id: str) -> None:
        """Give a run without a supervisor its ending."""
        ...


class HeldRun:
    """Follows one run from acceptance to burial. All of it runs on the event loop."""

    def __init__(self, directory: RunDir, starter: Starter, on_news: Callable[["HeldRun"], None]) -> None:
        self.dir = directory
        self.run_id = directory.run_id
        self.generation = min(generations_of(directory.path), default=directory.generation())
        """Of which records are sent. The last one, but for a run that ended with a restart of the machine."""
        self.acked = _read_acked(directory, self.generation)
        self.refused = ""
        self.is_dirty = False
        """Whether records came since the spool was last synced by the node server."""
        self.has_new_blobs = True
        self._starter = starter
        self._on_news = on_news
        self._announced: Spooled | None = None
        self._is_whole = False
        self._ended_at: int | None = None
        self._client: SupervisorClient | None = None
        self._acked_said = 0
        self._is_held = False
        self._is_linked = False
        self._link_said_at = 0.0
        self._acked_kept = self.acked
        self._silence = 0.0
        self._is_cancelled = False

    @property
    def is_live(self) -> bool:
        """Whether it occupies a place: accepted, and not known to have ended."""
        return self._ended_at is None

    @property
    def last_seq(self) -> int:
        """The last record known of, without reading the spool."""
        return max(self._announced.origin_seq if self._announced else 0, self._ended_at or 0, self.acked)

    @property
    def is_delivered(self) -> bool:
        """Whether it has ended and the hub has, or will never take, all of its records."""
        if self._ended_at is None or self.refused:
            return self._ended_at is not None
        return self.acked >= self._ended_at and self.generation == self.dir.generation()

    def describe(self) -> pb.HeldRun:
        return pb.HeldRun(
            run_id=self.run_id, generation=self.generation, last_origin_seq=self.last_seq, live=self.is_live
        )

    def may_have_after(self, seq: int) -> bool:
        """Whether records after ``seq`` may be there to be read."""
        return self._is_whole or (self._announced is not None and self._announced.origin_seq > seq)

    def read_until(self) -> Position | None:
        """How far the spool may be read; None is all of it."""
        return None if self._is_whole or self._announced is None else self._announced.position

    def reader(self, after: int) -> SpoolReader:
        return SpoolReader(self.dir.path, self.generation, after)

    async def follow(self) -> None:
        """Until the run has ended, come what may to its supervisor. Its records may still have to be delivered."""
        attempt = 0
        while True:
            standing = self.dir.standing()
            if standing in (Standing.ENDED, Standing.BURIED, Standing.UNKNOWN):
                self._note_end()
                return
            begun = asyncio.get_running_loop().time()
            try:
                if standing is Standing.LIVE:
                    await self._attend()
                    attempt = 0
                elif standing is Standing.ACCEPTED:
                    await self._starter.start(self.run_id)
                else:
                    await self._starter.settle(self.run_id)
            except (HubError, OSError) as error:
                if attempt % 50 == len(RETRY_SECONDS):
                    logger.warning("run.unattended", run=self.run_id, standing=standing.value, error=str(error))
            pause = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
            if standing is Standing.LIVE:
                self._note_silence(asyncio.get_running_loop().time() - begun + pause)
            else:
                self._silence = 0.0
            await asyncio.sleep(pause)
            attempt += 1

    def notice_ending(self) -> None:
        """The ending is on the disk before anybody hears of it; its supervisor's word may still be on the way."""
        if self.is_live and (ended_at := self.dir.ended_at()) is not None:
            self._note_end(ended_at)

    async def forward(self, command: Accepted) -> None:
        """Hand an accepted command to the supervisor, if there is one now; otherwise it finds it in the log."""
        if self._client is not None:
            try:
                await self._client.send_command(command)
            except NoSupervisor:
                logger.info("command.held_back", run=self.run_id, command=command.id)

    def acknowledge(self, generation: int, origin_seq: int, refused: str = "") -> None:
        """What the hub has of this run; ``refused`` says that it will never take anything."""
        if refused and not self.refused:
            logger.warning("run.refused_by_hub", run=self.run_id, code=refused)
            self.refused = refused
        if generation == self.generation:
            self.acked = max(self.acked, origin_seq)
        elif self.generation < generation <= self.dir.generation():
            self.generation, self.acked = generation, origin_seq

    def advance(self) -> bool:
        """The present generation was read to its end: go on with the next one, if there is one."""
        following = [number for number in generations_of(self.dir.path) if number > self.generation]
        if not self._is_whole or not following:
            return False
        self.generation, self.acked, self._acked_kept = following[0], 0, 0
        return True

    def rewind(self) -> None:
        """A new connection begins with the oldest records that are here: what was read was not yet committed."""
        oldest = min(generations_of(self.dir.path), default=1) if self.generation > 1 else 1
        if oldest < self.generation:
            self.generation, self.acked, self._acked_kept = oldest, 0, 0

    async def keep_acknowledged(self) -> None:
        """Tell the supervisor, and write down, how far the hub has come. The file is a hint: it may be behind."""
        done = self.last_seq if self.refused else self.acked
        if self._client is not None and done > self._acked_said:
            with contextlib.suppress(NoSupervisor):
                await self._client.send_acked(done)
                self._acked_said = done
        if done > self._acked_kept:
            await asyncio.to_thread(_keep_acked, self.dir, self.generation, done)
            self._acked_kept = done

    async def cancel_unknown(self) -> None:
        """End a live run that the hub does not know: nobody there can see it, steer it or stop it any more."""
        if not self.refused or not self.is_live or self._is_cancelled:
            return
        command = Accepted(str(new_id()), CancelRun.KIND, CancelRun(run=self.run_id).model_dump(mode="json"))
        await asyncio.to_thread(self.dir.commands.accept, command.id, command.kind, command.body)
        self._is_cancelled = True
        logger.warning("run.cancelled_as_unknown", run=self.run_id, code=self.refused)
        await self.forward(command)

    async def hold(self, is_held: bool) -> None:
        """Have the agent wait, or go on: the spools of all runs together are at their bound, or no longer."""
        if is_held != self._is_held:
            self._is_held = is_held
            if self._client is not None:
                with contextlib.suppress(NoSupervisor):
                    await self._client.send_hold(is_held)

    async def tell_link(self, is_linked: bool) -> None:
        """Whether the hub is there: said when it changes, and again and again, to a supervisor that asks."""
        now = asyncio.get_running_loop().time()
        is_news = is_linked != self._is_linked
        self._is_linked = is_linked
        if self._client is None or not self._client.hello.asks_link:
            return
        if is_news or now - self._link_said_at >= PING_SECONDS:
            self._link_said_at = now
            with contextlib.suppress(NoSupervisor):
                await self._client.send_link(is_linked)

    def blobs(self) -> list[str]:
        """Digests of the blobs that the hub does not have yet."""
        try:
            return sorted(path.name for path in self.dir.blobs.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []

    def waiting_bytes(self) -> int:
        """What the spool holds for the hub, to the size of a segment."""
        if self.acked >= self.last_seq or self.refused:
            return 0
        try:
            return sum(segment.path.stat().st_size for segment in segments_of(self.dir.path, self.generation))
        except FileNotFoundError:
            return 0

    async def _attend(self) -> None:
        """Listen to the supervisor until it leaves."""
        client = await SupervisorClient.connect(self.dir.control_socket)
        self._client, self._acked_said = client, 0
        self._silence = 0.0
        watch = asyncio.create_task(self._watch(client), name=f"watch-{self.run_id}")
        try:
            if client.hello.asks_link:  # before any ping, which speaks for the hub where nothing else does
                self._link_said_at = asyncio.get_running_loop().time()
                await client.send_link(self._is_linked)
            self.generation = client.hello.generation
            self._note_spooled(client.hello.spooled)
            await client.send_hold(self._is_held)  # whatever an earlier node server said
            for command in self.dir.commands.pending():
                await client.send_command(command)
            async for message in client:
                self._silence = 0.0
                if isinstance(message, Spooled):
                    self._note_spooled(message)
                elif isinstance(message, Ended):
                    self._note_end(message.origin_seq)
        finally:
            self._client = None
            watch.cancel()
            await client.aclose()  # closes before it waits: a second cancellation leaves nothing open
            await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self, client: SupervisorClient) -> None:
        """Ask for signs of life. One that gives none is killed, which ends the connection as well."""
        while client.hello.pings:
            with contextlib.suppress(NoSupervisor):
                await client.send_ping()
            await asyncio.sleep(PING_SECONDS)
            self._note_silence(PING_SECONDS)

    def _note_silence(self, seconds: float) -> None:
        """Counted in steps and not by the clock: a node server that was stopped itself has heard nobody meanwhile."""
        self._silence += min(seconds, PING_SECONDS)
        if self._silence < FROZEN_SECONDS:
            return
        self._silence = 0.0
        holder = self.dir.holder()  # whoever settles the run holds the lock as well, and does not sign it
        if holder is not None and holder.boot_id == proc.boot_id() and proc.kill_if_same(holder.pid, holder.started):
            logger.error("supervisor.frozen", run=self.run_id, pid=holder.pid, silent_seconds=FROZEN_SECONDS)

    def _note_spooled(self, spooled: Spooled) -> None:
        self._announced = spooled
        self.is_dirty = self.has_new_blobs = True
        self._on_news(self)

    def _note_end(self, origin_seq: int | None = None) -> None:
        """From here on the whole spool can be read."""
        ended_at = self.dir.ended_at() if origin_seq is None else origin_seq
        self._ended_at = self.acked if ended_at is None else ended_at
        self._is_whole = self.is_dirty = self.has_new_blobs = True
        self._on_news(self)


def _read_acked(directory: RunDir, generation: int) -> int:
    try:
        held = json.loads((directory.path / "acked").read_bytes())
        return int(held["origin_seq"]) if held["generation"] == generation else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _keep_acked(directory: RunDir, generation: int, acked: int) -> None:
    beside = directory.path / ".acked.new"
    beside.write_text(json.dumps({"generation": generation, "origin_seq": acked}))
    beside.replace(directory.path / "acked")
    delete_acknowledged(directory.path, generation, acked)
