"""Batches as a node would send them."""

from agents.ingest import Acked, Batch, RunFrames, commit_batches
from agents.models import Run
from nodes.contract.events import Payload
from nodes.contract.record import encode
from nodes.leases import HeldLease, claim_lease
from tests.factories import node_of


def lease_of(run: Run, owner: str = "hub-a") -> HeldLease:
    lease = claim_lease(node_of(run).pk, owner)
    assert lease
    return lease


def frames_of(*payloads: Payload, first: int = 1) -> bytes:
    return b"".join(encode(number, payload) for number, payload in enumerate(payloads, first))


def batch_of(run: Run, frames: bytes, *, lease: HeldLease | None = None, generation: int = 1) -> Batch:
    return Batch(lease or lease_of(run), [RunFrames(run.pk, generation, frames)], count=1)


def commit(run: Run, *payloads: Payload, first: int = 1, lease: HeldLease | None = None) -> Acked:
    """Commit one batch of this run's records and return its acknowledgement."""
    batch = batch_of(run, frames_of(*payloads, first=first), lease=lease)
    commit_batches([batch])
    run.refresh_from_db()
    return batch.done.result(0)[0]
