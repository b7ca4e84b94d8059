"""Whether this machine's clock is the database's: by that one the clocks of several hub processes are compared."""

from datetime import datetime
from typing import Final

import structlog
from django.db import connection
from django.utils import timezone

logger = structlog.get_logger(__name__)

APART_SECONDS: Final = 2.0
"""Beyond this, two hub processes may differ in how long a node was not heard."""


def tick(_now: datetime) -> int:
    """Say in the log if the two are apart; 1 then. A database in a file has this machine's clock."""
    if connection.vendor != "postgresql":
        return 0
    asked = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        ((there,),) = cursor.fetchall()
    apart = (there - (asked + (timezone.now() - asked) / 2)).total_seconds()
    if abs(apart) <= APART_SECONDS:
        return 0
    logger.warning(
        "clock.apart",
        message=f"This machine's clock is {abs(apart):.0f} s {'behind' if apart > 0 else 'ahead of'} the database's. "
        "Nodes may be taken for silent that another control plane hears: synchronise the clocks of all machines.",
        seconds=round(apart, 1),
    )
    return 1
