"""The hub's end of a node's link: hello, heartbeats, records in, commands out.

Everything that touches the database is apart from the receiving loop, so that heartbeats
are answered even while the database stands still.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.utils import timezone

from agents.ingest import Acked, Batch, Ingest, RunFrames
from agents.models import Run
from agents.reconciler import on_hello
from agents.services.answers import take_answer
from agents.services.blobs import store_blob
from audit.bell import bell
from nodes.contract.errors import HubError, Unavailable
from nodes.contract.ids import now_us
from nodes.contract.limits import BLOB_BYTES, CREDIT_BATCHES
from nodes.leases import HeldLease, LeaseLost, claim_lease, outrun_epoch, release_lease, require_lease
from nodes.link.errors import FrameTooLarge, LinkError, LinkProtocolError, ProtocolUnsupported
from nodes.link.link import HubEnd
from nodes.measured import Measured
from nodes.models import Command, Node
from nodes.outbox import RETRY_CODES, take_commands
from nodes.pb import link_pb2 as pb
from nodes.told import told_in, vitals_in

from .actor_calls import ActorCalls
from .database_threads import DatabaseThreads
from .heard import Heard
from .renewals import Renewals
from .trust import TrustBoard
from .turns import Turn, Turns

P = ParamSpec("P")
T = TypeVar("T")

logger = structlog.get_logger(__name__)

HELLO_SECONDS: Final = 15.0
_PUMP_SECONDS: Final = 30.0
"""Commands are looked for when the bell rings, whose poll knows which nodes have any; and once in this time."""
_RETRY_LATER_SECONDS: Final = 1.0
_MAX_OPEN_CHUNKS: Final = 8
_MAX_BATCHES: Final = 2 * CREDIT_BATCHES
"""What waits for the database at most, from one node: its credit, and some room for acknowledgements on their way."""
_STEADY_SECONDS: Final = 30.0
_REFUSED_SECONDS: Final = 60.0
"""Longest pause before a node is dialled again that an upgrade has to mend."""
_DATABASE_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses while the database is not there."""


@dataclass(slots=True)
class _Assembly:
    """A blob that arrives in chunks, in order."""

    size: int
    data: bytearray = field(default_factory=bytearray)


class LinkSession:
    """One connection to one node, owned in one epoch. ``run`` returns when it ends; reconnecting is the keeper's."""

    def __init__(
        self,
        link: HubEnd,
        lease: HeldLease,
        ingest: Ingest,
        database: DatabaseThreads,
        *,
        heard: Heard | None = None,
        renewals: Renewals | None = None,
        measured: Measured | None = None,
        trust: TrustBoard | None = None,
        addresses: Sequence[str] = (),
        web: str = "",
        turns: Turns | None = None,
    ) -> None:
        """``trust``: which authorities the hub trusts, told to nodes that learn them by renewing.

        ``addresses``: where a node that dials is to dial from now on; ``web``: where a node that joined is to renew.
        Empty, where nobody has set any.
        """
        self._addresses = addresses
        self._web = web
        self._turns = turns or Turns()
        self._trust = trust or TrustBoard()
        self._link = link
        self.lease = lease
        """As it is now: in a later epoch than the one it began with, if the node has seen that."""
        self._node_id = lease.node_id
        self._ingest = ingest
        self._database = database
        self._heard = heard or Heard(database)
        self._measured = measured or Measured()
        self._renewals = renewals or Renewals(database)
        self._results: asyncio.Queue[pb.CommandResult] = asyncio.Queue(maxsize=10_000)
        self._under_way: set[UUID] = set()
        self._acking: set[asyncio.Task[None]] = set()
        self._assemblies: dict[tuple[str, str], _Assembly] = {}
        self._actors = ActorCalls(link, lease.node_id)

    async def run(self, hello: pb.Hello | None = None, turn: Turn | None = None) -> None:
        """Serve the link until it is cut, falls silent, or the lease is lost (``LeaseLost``).

        ``hello`` is the node's, if it was heard already; ``turn`` is over as soon as the node is welcome.
        """
        try:
            with self._trust.telling(self._link):
                hello = hello or await self._link.hello(HELLO_SECONDS)
                async with nullcontext(turn) if turn else self._turns.turn() as mine:
                    await self._welcome(hello)
                    mine.end()
                    await self._serve()
        except LinkError as error:
            await self._note_failure(error)
            raise

    async def _welcome(self, hello: pb.Hello) -> None:
        self._measured.reached()
        self.lease, acked = await self._database.run(self._greet, hello)
        welcome = pb.Welcome(
            protocol=self._link.protocol, epoch=self.lease.epoch, acked=acked, credit_batches=CREDIT_BATCHES,
            trust=self._trust.shown, addresses=self._addresses, web=self._web,
        )  # fmt: skip
        await self._link.send(pb.HubFrame(welcome=welcome))
        logger.info("link.up", node=str(self._node_id), epoch=self.lease.epoch, runs=len(hello.runs))

    async def _serve(self) -> None:
        jobs = [
            asyncio.create_task(job(), name=f"{job.__name__}:{self._node_id}")
            for job in (self._receive, self._send_commands, self._take_answers, self._keep_lease)
        ]
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                job.result()
        finally:
            for task in (*jobs, *self._acking):
                task.cancel()
            await asyncio.gather(*jobs, *self._acking, self._actors.stop(), return_exceptions=True)

    def _greet(self, hello: pb.Hello) -> tuple[HeldLease, list[pb.RunAck]]:
        held = {UUID(run.run_id): run.live for run in hello.runs}
        with transaction.atomic():
            lease = outrun_epoch(self.lease, hello.epoch)
            now = timezone.now()
            told = {**told_in(hello), "measured": self._measured.as_row()}
            Node.objects.filter(pk=self._node_id).update(connected_at=now, last_heard_at=now, **told)
            on_hello(self._node_id, held)
        runs = Run.objects.filter(pk__in=held, node_id=self._node_id)
        known = {
            run.pk: pb.RunAck(
                run_id=str(run.pk),
                generation=run.generation,
                origin_seq=run.acked_origin_seq,
                refused="run_ended" if run.is_given_up else "",
            )
            for run in runs.only("state", "generation", "acked_origin_seq", "presumed_at", "reopened_at")
        }
        acked = [known.get(run_id) or pb.RunAck(run_id=str(run_id), refused="unknown_run") for run_id in held]
        return lease, acked

    async def _receive(self) -> None:
        async for frame in self._link.frames():
            kind = frame.WhichOneof("frame")
            if kind == "records":
                self._submit(frame.records)
            elif kind == "heartbeat":
                self._take_heartbeat(frame.heartbeat)  # the link has answered it already
            elif kind == "hello":  # said again when its facts have changed
                self._heard.note(self.lease, **told_in(frame.hello))
            elif kind == "result":
                await self._results.put(frame.result)
            elif kind == "chunk":
                await self._take_chunk(frame.chunk)
            elif kind == "actor_call":
                self._actors.take(frame.actor_call)

    def _submit(self, records: pb.Records) -> None:
        if len(self._acking) >= _MAX_BATCHES:
            raise LinkProtocolError("The node sends more batches than it has credit for.")
        parts = [RunFrames(UUID(run.run_id), run.generation, run.frames) for run in records.runs]
        count = sum(run.count for run in records.runs)
        done = self._ingest.submit(Batch(self.lease, parts, count))
        task = asyncio.create_task(self._acknowledge(records.batch, asyncio.wrap_future(done)))
        self._acking.add(task)
        task.add_done_callback(self._acking.discard)

    async def _acknowledge(self, number: int, done: "asyncio.Future[list[Acked]]") -> None:
        try:
            runs = [
                pb.RunAck(run_id=str(a.run_id), generation=a.generation, origin_seq=a.origin_seq, refused=a.refused)
                for a in await done
            ]
            await self._link.send(pb.HubFrame(ack=pb.RecordsAck(batch=number, runs=runs)))
        except HubError as error:
            await self._link.aclose(error.text, error.code)

    async def _send_commands(self) -> None:
        seen = 0
        while True:
            commands = await self._patiently(take_commands, self.lease, set(self._under_way))
            for command in commands:
                self._under_way.add(command.id)
                try:
                    await self._link.send(pb.HubFrame(command=self._frame_of(command)))
                except FrameTooLarge as error:  # it never fits, and must not hold up the others
                    refused = pb.CommandResult(id=str(command.id), code=error.code, message=error.text)
                    await self._results.put(refused)
            if bell.is_closed:  # the process is on its way out, and nothing will be waited for
                return
            seen = await bell.wait(f"node:{self._node_id}", seen, _PUMP_SECONDS)

    def _frame_of(self, command: Command) -> pb.Command:
        return pb.Command(
            id=str(command.id),
            run_id=str(command.run),
            epoch=self.lease.epoch,
            not_after_ms=int(command.not_after.timestamp() * 1000) if command.not_after else 0,
            kind=command.kind,
            body=command.body.encode(),
        )

    async def _take_answers(self) -> None:
        while True:
            results = [await self._results.get()]
            while not self._results.empty() and len(results) < 200:
                results.append(self._results.get_nowait())
            await self._patiently(self._store_answers, results)
            for result in results:
                if result.accepted or result.code not in RETRY_CODES:
                    self._under_way.discard(UUID(result.id))
                else:
                    asyncio.get_running_loop().call_later(
                        _RETRY_LATER_SECONDS, self._under_way.discard, UUID(result.id)
                    )
            bell.poke(f"node:{self._node_id}")  # each run's next command may go now

    def _store_answers(self, results: list[pb.CommandResult]) -> None:
        """What was merely accepted in one transaction; all else each in its own, since it may end its run."""
        plain = [result for result in results if result.accepted and not result.code]
        for group in (plain, *([result] for result in results if not result.accepted or result.code)):
            with transaction.atomic():
                require_lease(self.lease)
                for result in group:
                    take_answer(
                        UUID(result.id),
                        self._node_id,
                        accepted=result.accepted,
                        code=result.code,
                        message=result.message,
                    )

    def _take_heartbeat(self, beat: pb.Heartbeat) -> None:
        self._measured.beat(self._link.latency_ms, beat.clock_us, now_us())
        self._heard.note(self.lease, vitals=vitals_in(beat), measured=self._measured.as_row())

    async def _note_failure(self, error: LinkError) -> None:
        self._measured.failed(error, timezone.now())
        await self._heard.flush()  # what was heard before must not be written after it
        await write_trouble(self.lease, self._measured, self._database)

    async def _keep_lease(self) -> None:
        await self._renewals.keep(self.lease)

    async def _patiently(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As ``DatabaseThreads.run``, again and again while the database is not there: the link lives on meanwhile."""
        attempt = 0
        while True:
            try:
                return await self._database.run(function, *args, **kwargs)
            except (OperationalError, InterfaceError) as error:
                delay = _DATABASE_SECONDS[min(attempt, len(_DATABASE_SECONDS) - 1)]
                logger.warning("link.database_unavailable", node=str(self._node_id), error=str(error), retry=delay)
                attempt += 1
                await asyncio.sleep(delay)

    async def _take_chunk(self, chunk: pb.FileChunk) -> None:
        """Chunks of a blob come in order; anything else is refused and comes again on the next connection."""
        key = (chunk.run_id, chunk.digest)
        if chunk.offset == 0 and chunk.size <= BLOB_BYTES and len(self._assemblies) < _MAX_OPEN_CHUNKS:
            self._assemblies[key] = _Assembly(chunk.size)
        assembly = self._assemblies.get(key)
        if assembly is None or chunk.offset != len(assembly.data):
            self._assemblies.pop(key, None)
            await self._answer_file(chunk, "out_of_order")
            return
        assembly.data += chunk.data
        if len(assembly.data) < assembly.size:
            return
        del self._assemblies[key]
        try:
            data = bytes(assembly.data)
            await self._database.run(store_blob, UUID(chunk.run_id), self._node_id, chunk.digest, data)
        except HubError as error:
            await self._answer_file(chunk, error.code)
        except (OperationalError, InterfaceError) as error:  # the node keeps the blob, and sends it again
            logger.warning("link.database_unavailable", node=str(self._node_id), error=str(error))
            await asyncio.sleep(_DATABASE_SECONDS[-1])
            await self._answer_file(chunk, Unavailable.code)
        else:
            await self._answer_file(chunk, "")

    async def _answer_file(self, chunk: pb.FileChunk, refused: str) -> None:
        ack = pb.FileAck(run_id=chunk.run_id, digest=chunk.digest, refused=refused)
        await self._link.send(pb.HubFrame(file_ack=ack))


async def write_trouble(lease: HeldLease, measured: Measured, database: DatabaseThreads) -> None:
    """Write down why there is no link, for as long as the lease says that it is ours to tell. At a bounded rate."""
    if not measured.is_worth_writing():
        return
    try:
        await database.run(_store_measured, lease, measured.as_row())
    except (LeaseLost, DatabaseError) as error:
        logger.info("link.trouble_not_written", node=str(lease.node_id), error=str(error))


def _store_measured(lease: HeldLease, row: dict[str, Any]) -> None:
    with transaction.atomic():
        require_lease(lease, with_node=True)
        Node.objects.filter(pk=lease.node_id).update(measured=row)


class LinkKeeper:
    """Keeps one node's link: claims the lease, dials, serves, and does so again when it ends."""

    def __init__(
        self,
        node_id: UUID,
        owner: str,
        dial_node: Callable[[UUID], Awaitable[HubEnd]],
        ingest: Ingest,
        database: DatabaseThreads,
        *,
        heard: Heard | None = None,
        renewals: Renewals | None = None,
        trust: TrustBoard | None = None,
        web: str = "",
        turns: Turns | None = None,
    ) -> None:
        self._trust = trust
        self._web = web
        self._turns = turns
        self._node_id = node_id
        self._owner = owner
        self._dial_node = dial_node
        self._ingest = ingest
        self._database = database
        self._heard = heard or Heard(database)
        self._renewals = renewals or Renewals(database)
        self._measured = Measured()

    async def keep(self) -> None:
        """Runs until cancelled."""
        failures = 0
        while True:
            started, longest = time.monotonic(), 5.0
            try:
                await self._serve_once()
            except (HubError, DatabaseError, OSError) as error:
                longest = _REFUSED_SECONDS if isinstance(error, ProtocolUnsupported) else longest
                if failures in (0, 10) or failures % 100 == 0:
                    logger.warning("link.down", node=str(self._node_id), error=str(error), failures=failures)
            except Exception:  # top of the loop: one broken session must not end the link for good
                logger.exception("link.broken", node=str(self._node_id))
            failures = 0 if time.monotonic() - started > _STEADY_SECONDS else failures + 1
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(longest, 0.1 * 2 ** min(failures, 10)))  # noqa: S311

    async def _serve_once(self) -> None:
        lease = await self._database.run(claim_lease, self._node_id, self._owner)
        if lease is None:
            return
        session: LinkSession | None = None
        try:
            try:
                link = await self._dial_node(self._node_id)
            except HubError as error:
                self._measured.failed(error, timezone.now())
                await write_trouble(lease, self._measured, self._database)
                raise
            try:
                session = LinkSession(
                    link, lease, self._ingest, self._database,
                    heard=self._heard, renewals=self._renewals, measured=self._measured, trust=self._trust,
                    web=self._web, turns=self._turns,
                )  # fmt: skip
                await session.run()
            finally:
                await link.aclose("The hub closes the link.")
        finally:
            await self._database.run(release_lease, session.lease if session else lease)
