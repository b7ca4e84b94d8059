"""Blobs from the runs' directories to the hub: one at a time, in chunks, until it has stored them."""

import asyncio

import structlog

from nodes.contract.limits import CHUNK_BYTES
from nodes.link.link import NodeEnd
from nodes.pb import link_pb2 as pb

from .held import HeldRun
from .holding import HeldRuns

logger = structlog.get_logger(__name__)

LOOK_SECONDS = 0.25
"""How often runs that said something are looked through for new blobs."""
ANSWER_SECONDS = 60.0
RETRY_CODES = frozenset({"out_of_order", "unavailable"})


class BlobSender:
    """One connection's sending of blobs. Chunks leave after everything else, so records are never held up."""

    def __init__(self, link: NodeEnd, runs: HeldRuns) -> None:
        self._link = link
        self._runs = runs
        self._answers: dict[tuple[str, str], asyncio.Future[str]] = {}
        for run in runs:
            run.has_new_blobs = True

    def answered(self, ack: pb.FileAck) -> None:
        """The hub has stored a blob, or says why not."""
        answer = self._answers.get((ack.run_id, ack.digest))
        if answer is not None and not answer.done():
            answer.set_result(ack.refused)

    async def run(self) -> None:
        """Until cancelled or the link is over."""
        while True:
            for run in self._runs:
                if run.has_new_blobs:
                    run.has_new_blobs = False
                    for digest in run.blobs():
                        if not await self._deliver(run, digest):
                            run.has_new_blobs = True
            await asyncio.sleep(LOOK_SECONDS)

    async def _deliver(self, run: HeldRun, digest: str) -> bool:
        """Whether the blob needs no more sending. Stored by the hub, or refused for good, it is removed here."""
        answer = self._answers[run.run_id, digest] = asyncio.get_running_loop().create_future()
        try:
            if not await self._send(run, digest):
                return True
            async with asyncio.timeout(ANSWER_SECONDS):
                refused = await answer
        except TimeoutError:
            logger.warning("blob.unanswered", run=run.run_id, digest=digest)
            return False
        finally:
            del self._answers[run.run_id, digest]
        if refused in RETRY_CODES:
            return False
        if refused:
            logger.warning("blob.refused_by_hub", run=run.run_id, digest=digest, code=refused)
        run.dir.blob_path(digest).unlink(missing_ok=True)
        return True

    async def _send(self, run: HeldRun, digest: str) -> bool:
        """False if the blob is gone or is none."""
        try:
            data = await asyncio.to_thread(run.dir.blob_path(digest).read_bytes)
        except (FileNotFoundError, ValueError):
            return False
        for offset in range(0, max(1, len(data)), CHUNK_BYTES):
            chunk = data[offset : offset + CHUNK_BYTES]
            await self._link.send(
                pb.NodeFrame(
                    chunk=pb.FileChunk(run_id=run.run_id, digest=digest, size=len(data), offset=offset, data=chunk)
                )
            )
        return True
