"""Identifiers and clocks: UUIDv7 and UTC, made in one place."""

from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7 as _uuid7


def new_id() -> UUID:
    """A UUIDv7: sorts by the time it was made."""
    return _uuid7()


def uuid_of(text: str) -> UUID | None:
    """The UUID that a text is; None for what is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def first_id(at: datetime) -> UUID:
    """The smallest UUIDv7 of a millisecond: ids sort by the time they were made, and their index finds them."""
    return UUID(int=int(at.timestamp() * 1_000) << 80)


def now_us() -> int:
    """The wall clock in microseconds since 1970, UTC."""
    return int(datetime.now(UTC).timestamp() * 1_000_000)


def iso(us: int) -> str:
    """Microseconds since 1970 as ``2026-11-21T02:13:00.123456Z``."""
    return datetime.fromtimestamp(us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
