"""The bell of all approvals: who watches them reads anew when it rings. That something changed, and not what."""

from functools import partial
from typing import Final

from django.db import transaction

from audit.bell import bell

STREAM: Final = "approvals"


def ring_for_approvals() -> None:
    """Ring when the transaction at hand commits."""
    transaction.on_commit(partial(bell.poke, STREAM))
