"""A small hub without a database: dials a node, commits to memory, acknowledges after that."""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nodes.contract.commands import Body
from nodes.contract.ids import new_id
from nodes.contract.record import decode, frames
from nodes.link.credentials import Credentials
from nodes.link.dial import dial
from nodes.link.errors import LinkError, NodeUnreachable
from nodes.link.link import HubEnd
from nodes.link.versions import PROTOCOL
from nodes.pb import link_pb2 as pb
from nodes.pki import NodeIdentity, identity_of
from tests.support import eventually_async


@dataclass
class Committed:
    """What the hub has of one run: every record once, in order."""

    generation: int = 1
    records: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    repeats: int = 0

    @property
    def last(self) -> int:
        return self.records[-1][0] if self.records else 0

    @property
    def types(self) -> list[str]:
        return [type_ for _, type_, _ in self.records]

    def is_dense(self) -> bool:
        return [seq for seq, _, _ in self.records] == list(range(1, len(self.records) + 1))


class SmallHub:
    """One node's hub. ``connect`` again after a cut, and everything goes on."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.epoch = 0
        self.runs: dict[str, Committed] = defaultdict(Committed)
        self.results: dict[str, pb.CommandResult] = {}
        self.blobs: dict[str, bytes] = {}
        self.hellos: list[pb.Hello] = []
        self.heartbeats: list[pb.Heartbeat] = []
        self.batches: list[int] = []
        self.unacknowledged = 0
        self.most_unacknowledged = 0
        self.acknowledges = True
        self.commits = True
        self.refuses: set[str] = set()
        self.credit = 8
        self.link: HubEnd
        self._reading: asyncio.Task[None] | None = None
        self._held_back: list[pb.HubFrame] = []

    async def connect(self, address: str = "", epoch: int | None = None) -> pb.Hello:
        """Dial where the node says it listens (or ``address``), trying until somebody answers."""
        identity = identity_of((self._home / "pki/local.pem").read_bytes())
        assert identity is not None
        dialled: Callable[[], bool | Awaitable[bool]] = partial(self._dial, address, identity)
        await eventually_async(dialled, timeout=60)
        hello = await self.link.hello(60)
        self.epoch = max(self.epoch, hello.epoch) + 1 if epoch is None else epoch
        acked = [self._known(run.run_id) for run in hello.runs]
        await self.link.send(
            pb.HubFrame(
                welcome=pb.Welcome(protocol=PROTOCOL, epoch=self.epoch, acked=acked, credit_batches=self.credit)
            )
        )
        self.unacknowledged = 0
        self.hellos.append(hello)
        self._reading = asyncio.create_task(self._read())
        return hello

    async def aclose(self) -> None:
        if self._reading is not None:
            await self.link.aclose("The test is over.")
            with contextlib.suppress(LinkError):
                await self._reading

    async def command(self, run_id: str, body: Body, *, id_: str = "", not_after_ms: int = 0) -> pb.CommandResult:
        """Send a command and wait for its answer."""
        return await self.send(run_id, body.KIND, body.model_dump_json().encode(), id_=id_, not_after_ms=not_after_ms)

    async def send(
        self, run_id: str, kind: str, body: bytes, *, id_: str = "", not_after_ms: int = 0
    ) -> pb.CommandResult:
        id_ = id_ or str(new_id())
        self.results.pop(id_, None)
        command = pb.Command(id=id_, run_id=run_id, epoch=self.epoch, kind=kind, body=body, not_after_ms=not_after_ms)
        await self.link.send(pb.HubFrame(command=command))
        await eventually_async(lambda: id_ in self.results, timeout=60)
        return self.results[id_]

    async def acknowledge_again(self) -> None:
        """The database is back."""
        self.acknowledges = True
        for frame in self._held_back:
            await self._send_ack(frame)
        self._held_back.clear()

    async def ended(self, run_id: str, timeout: float = 30.0) -> str:
        """Wait for the run's ending; its type."""
        endings = {"run.completed", "run.failed", "run.cancelled"}
        await eventually_async(lambda: endings & set(self.runs[run_id].types), timeout)
        return self.runs[run_id].types[-1]

    async def _dial(self, address: str, identity: NodeIdentity) -> bool:
        try:
            target = address or (self._home / "node/address").read_text()
            self.link = await dial(target, Credentials.load(self._home / "pki", "hub"), identity)
        except (NodeUnreachable, FileNotFoundError):
            return False
        return True

    def _known(self, run_id: str) -> pb.RunAck:
        if run_id in self.refuses:
            return pb.RunAck(run_id=run_id, refused="unknown_run")
        run = self.runs[run_id]
        return pb.RunAck(run_id=run_id, generation=run.generation, origin_seq=run.last)

    async def _read(self) -> None:
        async for frame in self.link.frames():
            kind = frame.WhichOneof("frame")
            if kind == "records":
                await self._commit(frame.records)
            elif kind == "result":
                self.results[frame.result.id] = frame.result
            elif kind == "chunk":
                await self._take(frame.chunk)
            elif kind == "heartbeat":
                self.heartbeats.append(frame.heartbeat)
            elif kind == "hello":
                self.hellos.append(frame.hello)

    async def _commit(self, records: pb.Records) -> None:
        self.batches.append(sum(run.count for run in records.runs))
        if not self.commits:
            return
        self.unacknowledged += 1
        self.most_unacknowledged = max(self.most_unacknowledged, self.unacknowledged)
        for part in records.runs:
            self._commit_run(part)
        ack = pb.HubFrame(ack=pb.RecordsAck(batch=records.batch, runs=[self._known(r.run_id) for r in records.runs]))
        if self.acknowledges:
            await self._send_ack(ack)
        else:
            self._held_back.append(ack)

    async def _send_ack(self, ack: pb.HubFrame) -> None:
        self.unacknowledged -= 1
        await self.link.send(ack)

    def _commit_run(self, part: pb.RunRecords) -> None:
        run = self.runs[part.run_id]
        count = 0
        for _, body in frames(part.frames):
            record = decode(body)
            count += 1
            if record.origin_seq <= run.last and part.generation == run.generation:
                run.repeats += 1
            else:
                run.generation = part.generation
                run.records.append((record.origin_seq, record.type, json.loads(record.payload)))
        assert count == part.count

    async def _take(self, chunk: pb.FileChunk) -> None:
        held = self.blobs.get(chunk.digest, b"") if chunk.offset else b""
        assert len(held) == chunk.offset
        self.blobs[chunk.digest] = held + chunk.data
        if len(self.blobs[chunk.digest]) == chunk.size:
            await self.link.send(pb.HubFrame(file_ack=pb.FileAck(run_id=chunk.run_id, digest=chunk.digest)))
