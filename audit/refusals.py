"""Refusals in the trail: the first of a kind at once, the rest counted by the minute, so that nobody fills a disk.

One row says of one source (an address, or an IPv6 network of a customer) what it was refused, and how often. Rows a
minute are bounded as well, for who has many addresses: what is beyond them becomes one row with a count.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, connections, transaction

from .services import ActorLike, Fact, Who, record_all

logger = structlog.get_logger(__name__)

WINDOW_SECONDS: Final = 60.0
ROWS_A_WINDOW: Final = 60
"""First refusals that are written at once, in one process, in a minute."""
ANYBODY: Final = Who("anonymous")
_NETWORK_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Refusal:
    """What makes two refusals the same: who, from where, what, and why."""

    name: str
    by: Who
    of: tuple[str, str] | None = None
    project: UUID | None = None
    node: UUID | None = None
    run: UUID | None = None
    code: str = ""
    door: str = ""
    data: tuple[tuple[str, str], ...] = ()
    """More that the row says."""


Due = tuple[Refusal, int]
"""A refusal, and how often it was."""


class Refusals:
    """One of a sort per process. ``name`` is what those beyond the bound are called, together."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, name: str = "access.refused") -> None:
        self._clock = clock
        self._name = name
        self._lock = threading.Lock()
        self._began = -WINDOW_SECONDS
        self._counts: dict[Refusal, int] = {}
        self._beyond = 0

    def note(self, refusal: Refusal) -> None:
        """Write it, if it is the first of its kind in this minute; else count it. Never raises.

        Not within a transaction of the caller's: what is refused is undone, and this is to stay.
        """
        self.write(self.count(refusal))

    def count(self, refusal: Refusal) -> list[Due]:
        """What is to be written of it now, if anything; asks no database."""
        kind = replace(refusal, by=replace(refusal.by, address=source_of(refusal.by.address), user_agent=""))
        with self._lock:
            due = self._turn(force=False)
            if kind in self._counts:
                self._counts[kind] += 1
            elif len(self._counts) < ROWS_A_WINDOW:
                self._counts[kind] = 0
                due.append((refusal, 1))
            else:
                self._beyond += 1
        return due

    def flush(self, *, force: bool = False) -> None:
        """Write what was counted in a minute that is over; with ``force``, in this one too."""
        with self._lock:
            due = self._turn(force=force)
        self.write(due)

    def _turn(self, *, force: bool) -> list[Due]:
        now = self._clock()
        if now - self._began < WINDOW_SECONDS and not force:
            return []
        due = [(refusal, count) for refusal, count in self._counts.items() if count]
        if self._beyond:
            due.append((Refusal(self._name, ANYBODY, code="many_sources"), self._beyond))
        self._began, self._counts, self._beyond = now, {}, 0
        return due

    def write(self, due: list[Due]) -> None:
        for refusal, count in due:
            said = {**dict(refusal.data), "code": refusal.code, "door": refusal.door, "count": count}
            fact = Fact(
                refusal.project, refusal.name, of=refusal.of, node=refusal.node, run=refusal.run,
                data={name: value for name, value in said.items() if value},
            )  # fmt: skip
            try:
                with transaction.atomic():
                    record_all([fact], by=refusal.by)
            except (DatabaseError, InterfaceError) as error:  # the refusal stands, whatever happens to its record
                logger.warning("audit.refusal_unwritten", name=refusal.name, count=count, error=str(error))


def source_of(address: str) -> str:
    """What one party can have at little cost: an IPv4 address, or 2⁶⁴ of IPv6."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((found, _NETWORK_BITS), strict=False)) if isinstance(found, IPv6Address) else str(found)


def as_who(actor: ActorLike) -> Who:
    return Who(str(actor.kind), actor.id, actor.label, actor.address, actor.user_agent)


refusals: Final = Refusals()
"""This process's."""
failures: Final = Refusals(name="user.login_failed")
"""Of signing in: apart, so that who knocks at many doors cannot keep a guessed password out of the trail."""


def flush_in_thread(*, force: bool = False) -> None:
    """For a thread that does nothing else with the database: it keeps no connection."""
    try:
        for counted in (refusals, failures):
            counted.flush(force=force)
    finally:
        connections.close_all()
