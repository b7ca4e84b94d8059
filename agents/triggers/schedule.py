"""When a trigger fires: once within 30 days, or by cron in a time zone."""

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from nodes.contract.errors import Invalid

LONGEST: Final = timedelta(days=30)
_CRON_CHARS: Final = 100
_MOST_MISSED: Final = 1_000


def once(now: datetime, *, at: datetime | None = None, delay_seconds: float | None = None) -> datetime:
    """The time that is meant. Raises ``Invalid`` for one that is past, or more than 30 days away."""
    delay = timedelta(seconds=min(delay_seconds or 0.0, 10 * LONGEST.total_seconds()))
    due = in_utc(at) if at is not None else now + delay
    if not now < due <= now + LONGEST:
        raise _too_far("at" if at is not None else "delay_seconds")
    return due


def in_utc(at: datetime, zone: str = "UTC") -> datetime:
    """A time that names no zone is one of ``zone``. Raises ``Invalid`` for a zone that does not exist."""
    try:
        return (at if at.tzinfo else at.replace(tzinfo=zone_of(zone))).astimezone(UTC)
    except OverflowError:  # in the first or the last hours of all years
        raise _too_far("at") from None


def _too_far(field: str) -> Invalid:
    message = "A trigger fires in the future, and within 30 days; by cron it goes on after that."
    return Invalid(message, fields={field: [message]})


def check_cron(expression: str, timezone: str) -> tuple[str, str]:
    """The expression and the zone, as they are kept. Raises ``Invalid``."""
    expression = " ".join(expression.split())
    zone = zone_of(timezone or "UTC")
    try:
        if len(expression) > _CRON_CHARS or len(expression.split()) != 5:
            raise CronSimError("five fields are needed: minute, hour, day of month, month, day of week")
        next(CronSim(expression, datetime.now(UTC).astimezone(zone)))
    except (CronSimError, StopIteration) as error:
        message = (
            f"{expression[:_CRON_CHARS]!r} is no schedule ({str(error) or 'it never comes'}), as in 0 9 * * mon-fri."
        )
        raise Invalid(message, fields={"cron": [message]}) from None
    return expression, zone.key


def zone_of(name: str) -> ZoneInfo:
    """Raises ``Invalid`` for a zone that does not exist."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: a directory among the zones
        message = f"There is no time zone {name[:64]!r}; they are named as in Europe/Oslo."
        raise Invalid(message, fields={"timezone": [message]}) from None


def next_after(expression: str, timezone: str, after: datetime) -> datetime:
    """Raises ``Invalid`` for a zone that is gone, and a schedule that is no longer one."""
    try:
        return next(_times(expression, timezone, after)).astimezone(UTC)
    except StopIteration:
        raise Invalid(f"{expression!r} never comes again.", fields={"cron": ["never comes again"]}) from None


def _times(expression: str, timezone: str, after: datetime) -> CronSim:
    try:
        return CronSim(expression, after.astimezone(zone_of(timezone)))
    except CronSimError as error:
        raise Invalid(f"{expression!r} is no schedule ({error}).", fields={"cron": ["is no schedule"]}) from None


def missed_until(expression: str, timezone: str, due: datetime, now: datetime) -> tuple[int, datetime, datetime]:
    """(how many times from ``due`` to ``now``, the last of them, the first after ``now``), counting up to 1,000.

    Raises ``Invalid`` as ``next_after`` does.
    """
    count, last = 1, due
    for at in _times(expression, timezone, due):
        following = at.astimezone(UTC)
        if following > now:
            return count, last, following
        count, last = count + 1, following
        if count >= _MOST_MISSED:
            break
    return count, last, next_after(expression, timezone, now)
