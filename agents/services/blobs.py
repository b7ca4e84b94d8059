"""Bytes that events refer to."""

import hashlib
from uuid import UUID

from django.db import transaction

from agenthub_site.accounts.actors import SYSTEM
from audit.services import record
from nodes.contract.errors import Invalid, NotFound, TooLarge
from nodes.contract.limits import BLOB_BYTES

from ..models import Blob, Run


def store_blob(run_id: UUID, node_id: UUID, digest: str, data: bytes) -> None:
    """Keep a blob of a node's own run, once. Raises ``NotFound``, ``TooLarge``, or ``Invalid`` for a wrong digest."""
    if len(data) > BLOB_BYTES:
        raise TooLarge("The blob is larger than allowed.", limit_bytes=BLOB_BYTES)
    if hashlib.sha256(data).hexdigest() != digest:
        raise Invalid("The blob's bytes do not have its digest.")
    run = Run.objects.filter(pk=run_id, node_id=node_id).only("project").first()
    if run is None:
        raise NotFound()
    with transaction.atomic():
        kept = {"size": len(data), "data": data}
        _, is_new = Blob.objects.get_or_create(run_id=run_id, digest=digest, defaults=kept)
        if is_new:
            record(
                run.project_id, "artifact.stored", by=SYSTEM, of=("artifact", digest), run=run_id, node=node_id,
                artifact=digest, size=len(data),
            )  # fmt: skip
