"""Records from the spools to the hub: in batches, within the hub's credit, fair between runs."""

import asyncio
from collections import deque

import structlog

from nodes.contract.limits import BATCH_RECORDS, BATCH_SECONDS, CREDIT_BATCHES
from nodes.contract.record import FRAME_HEAD, MAX_BODY
from nodes.link.link import NodeEnd
from nodes.pb import link_pb2 as pb

from .held import HeldRun
from .holding import HeldRuns
from .spool import BATCH_BYTES, SpoolReader

logger = structlog.get_logger(__name__)

SLICE_RECORDS = 100
"""What a run may always put into a batch, however many others wait."""
PACE_SECONDS = 0.005
"""Between two batches that are not full: each costs the hub a commit, whatever it holds."""
RETRY_SECONDS = 1.0
"""How long a run whose spool could not be read is left alone."""
_LARGEST_FRAME = FRAME_HEAD + MAX_BODY


class Forwarder:
    """One connection's sending of records. It starts behind what the hub's Welcome said is committed."""

    def __init__(self, link: NodeEnd, runs: HeldRuns, welcome: pb.Welcome) -> None:
        self._link = link
        self._runs = runs
        self._credit = welcome.credit_batches or CREDIT_BATCHES
        self._number = 0
        self._sent_at = 0.0
        self._under_way: set[int] = set()
        self._readers: dict[str, tuple[int, SpoolReader]] = {}
        self._committed = {(ack.run_id, ack.generation): ack.origin_seq for ack in welcome.acked}
        self._waiting: deque[HeldRun] = deque()
        self._is_waiting: set[str] = set()
        self._wake = asyncio.Event()
        for run in runs:
            run.rewind()
        for ack in welcome.acked:
            self._note(ack)
        for run in runs:
            self.news(run)

    def news(self, run: HeldRun) -> None:
        """This run may have something to read."""
        if run.run_id not in self._is_waiting:
            self._is_waiting.add(run.run_id)
            self._waiting.append(run)
        self._wake.set()

    def acknowledged(self, ack: pb.RecordsAck) -> None:
        """The hub has committed a batch: room for another one."""
        self._under_way.discard(ack.batch)
        for run in ack.runs:
            self._note(run)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled or the link is over."""
        while True:
            if not self._waiting or len(self._under_way) >= self._credit:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._linger()
            records = self._fill()
            if records.runs:
                self._number += 1
                self._sent_at = asyncio.get_running_loop().time()
                records.batch = self._number
                self._under_way.add(self._number)
                await self._link.send(pb.NodeFrame(records=records))

    async def _linger(self) -> None:
        """The first record leaves at once. Then batches keep a pace, and may grow while the hub is busy with one."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while self._known_waiting() < BATCH_RECORDS:
            until = max(self._sent_at + PACE_SECONDS, begun + BATCH_SECONDS if self._under_way else 0.0)
            left = until - loop.time()
            if left <= 0:
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _known_waiting(self) -> int:
        """Records that wait, as far as is known without reading; a dead run's whole spool counts as a batch."""
        total = 0
        for run in self._waiting:
            if run.read_until() is None:
                return BATCH_RECORDS
            total += run.last_seq - self._sent(run)
        return total

    def _fill(self) -> pb.Records:
        """A batch of what is there: each waiting run in turn, and those with more go to the end of the line."""
        records = pb.Records()
        left, room = BATCH_RECORDS, BATCH_BYTES
        share = max(SLICE_RECORDS, BATCH_RECORDS // max(1, len(self._waiting)))
        for _ in range(len(self._waiting)):
            if left <= 0 or (records.runs and room < _LARGEST_FRAME):
                break
            run = self._waiting.popleft()
            self._is_waiting.discard(run.run_id)
            if run.refused or self._runs.get(run.run_id) is not run:
                continue
            try:
                reader = self._reader(run)
                batch = reader.read(run.read_until(), min(share, left), room)
                if batch is None and run.advance():
                    self.news(run)
            except OSError as error:  # this run is tried again a little later; the others go on
                logger.warning("spool.unreadable", run=run.run_id, error=str(error))
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self.news, run)
                continue
            if batch is None:
                continue
            records.runs.append(
                pb.RunRecords(run_id=run.run_id, generation=run.generation, count=batch.count, frames=batch.frames)
            )
            left -= batch.count
            room -= len(batch.frames)
            if run.may_have_after(reader.last_seq):
                self.news(run)
        return records

    def _reader(self, run: HeldRun) -> SpoolReader:
        """Behind what the hub said it has, even if that is less than it once said."""
        known = self._readers.get(run.run_id)
        if known is None or known[0] != run.generation:
            known = self._readers[run.run_id] = (run.generation, run.reader(self._sent(run)))
        return known[1]

    def _sent(self, run: HeldRun) -> int:
        """The last record that this connection has read, or need not read."""
        known = self._readers.get(run.run_id)
        if known is not None and known[0] == run.generation:
            return known[1].last_seq
        return self._committed.get((run.run_id, run.generation), 0)

    def _note(self, ack: pb.RunAck) -> None:
        run = self._runs.get(ack.run_id)
        if run is not None:
            run.acknowledge(ack.generation, ack.origin_seq, ack.refused)
