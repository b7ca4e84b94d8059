"""Reading a run's stream from the database, and the envelope every reader gets.

The payload is served verbatim: the envelope is spliced as text around it, and nothing
is decoded on the way.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar
from uuid import UUID

from django.db import DatabaseError, connection

from agenthub_site.accounts.actors import Actor
from audit.models import Stream
from mailboxes.addresses import Address
from mailboxes.reading import last_numbers
from nodes.contract.errors import Invalid, NotFound
from nodes.contract.ids import iso, now_us
from nodes.models import Command

from .models import Run, RunEvent
from .states import ENDED

P = ParamSpec("P")
T = TypeVar("T")

PAGE_ROWS: Final = 250
"""Rows fetched by one statement: at 64 KiB an event, 16 MB at worst."""
READ_BYTES: Final = 4 * 1024 * 1024
"""A read stops early once it holds this much; the rest is read from where it stopped."""
READ_LIMIT: Final = 5_000
DEFAULT_LIMIT: Final = 500
READER_THREADS: Final = 4
MAX_SEQ: Final = 2**62


class EventRow(NamedTuple):
    """A row of a run's stream as readers need it; ``payload`` is JSON text, verbatim."""

    seq: int
    type: str
    version: int
    occurred_us: int
    recorded_us: int
    payload: str


class Encoded(NamedTuple):
    """An event's envelope as JSON text without line breaks."""

    seq: int
    text: str


@dataclass(frozen=True, slots=True)
class RunHead:
    """Where a run stands, and what is the same in all its envelopes."""

    run_id: UUID
    project_id: UUID
    agent_id: UUID
    user_id: UUID | None
    state: str
    reason: str
    last_seq: int

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED

    def summary(self) -> dict[str, Any]:
        """What a reader is told on connecting, and whenever it changes."""
        return {"run": str(self.run_id), "state": self.state, "reason": self.reason, "last_seq": self.last_seq}


_HEAD_FIELDS: Final = ("id", "project_id", "agent_id", "user_id", "state", "reason", "last_seq")


def read_head(run_id: UUID, actor: Actor | None = None) -> RunHead:
    """The run as it is now, if ``actor`` may see it (None: whoever asks was let in before). Raises ``NotFound``."""
    runs = Run.objects.all() if actor is None else Run.objects.visible_to(actor)
    row = runs.filter(pk=run_id).order_by().values_list(*_HEAD_FIELDS).first()
    if row is None:
        raise NotFound("There is no such run, or you may not see it.", run=str(run_id))
    return RunHead(*row)


def read_events(run_id: UUID, after: int, limit: int) -> list[EventRow]:
    """The events after number ``after``: at most ``limit``, and fewer where they are large (``READ_BYTES``)."""
    rows: list[EventRow] = []
    size = 0
    wanted = RunEvent.objects.filter(run_id=run_id).order_by("seq").values_list(*EventRow._fields)
    while len(rows) < limit and size < READ_BYTES:
        page = min(PAGE_ROWS, limit - len(rows))
        found = list(map(EventRow._make, wanted.filter(seq__gt=rows[-1].seq if rows else after)[:page]))
        rows += found
        size += sum(len(row.payload) for row in found)
        if len(found) < page:
            break
    return rows


def encode(head: RunHead, rows: Iterable[EventRow]) -> list[Encoded]:
    """The envelopes of ``rows``, payloads spliced in as they are."""
    run = str(head.run_id)
    user = f'"{head.user_id}"' if head.user_id else "null"
    same = f'"project":"{head.project_id}","user":{user},"agent":"{head.agent_id}","run":"{run}","seq":'
    return [
        Encoded(
            row.seq,
            f'{{"id":"{run}:{row.seq}","type":{_quoted(row.type)},"version":{row.version},{same}{row.seq},'
            f'"occurred_at":"{_time(row.occurred_us)}","recorded_at":"{_time(row.recorded_us)}",'
            f'"payload":{_on_one_line(row.payload)}}}',
        )
        for row in rows
    ]


@lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    return json.dumps(text)


def _time(us: int) -> str:
    """As ``iso``, at a fifth of its cost: events come many to a second."""
    return f"{_second(us // 1_000_000)}.{us % 1_000_000:06d}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return iso(seconds * 1_000_000)[:19]


def _on_one_line(payload: str) -> str:
    """A line break in JSON text can only be space between tokens; in a frame of SSE it would end the line."""
    return payload.replace("\n", " ").replace("\r", " ") if "\n" in payload or "\r" in payload else payload


def counters(streams: Collection[str]) -> dict[str, int]:
    """The present numbers of ``run:…``, of ``mail:…`` and of audit streams, for the bell's poll.

    ``node:…`` has none: it is given the time, as by ``Bell.poke``, if commands wait for the node.
    """
    nodes = [UUID(name.removeprefix("node:")) for name in streams if name.startswith("node:")]
    runs = [UUID(name.removeprefix("run:")) for name in streams if name.startswith("run:")]
    others = [name for name in streams if name == "instance" or name.startswith("project:")]
    numbers: dict[str, int] = {}
    try:
        for part in _parts(runs):
            found = Run.objects.filter(pk__in=part).order_by().values_list("pk", "last_seq")
            numbers.update((f"run:{run_id}", last) for run_id, last in found)
        if nodes:
            # Of all nodes: asked for those of some, SQLite reads every command that these ever got.
            pending = Command.objects.filter(state=Command.State.PENDING).order_by().values_list("node_id", flat=True)
            numbers.update(dict.fromkeys((f"node:{pk}" for pk in {*pending.distinct()} & {*nodes}), now_us()))
        for names in _parts(others):
            numbers.update(Stream.objects.filter(pk__in=names).values_list("name", "last_number"))
        for names in _parts([name for name in streams if name.startswith("mail:")]):
            inboxes = last_numbers([Address.parse(name.removeprefix("mail:")) for name in names])
            numbers.update((address.stream, last) for address, last in inboxes.items())
    finally:
        _give_back()
    return numbers


def _parts(items: Sequence[T], size: int = 500) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


_threads = ThreadPoolExecutor(READER_THREADS, "readers")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a database read off the loop, on one of few threads: a thousand readers that come back queue here."""

    def call() -> T:
        try:
            return function(*args, **kwargs)
        except DatabaseError:
            connection.close()
            raise
        finally:
            _give_back()

    return await asyncio.get_running_loop().run_in_executor(_threads, call)


def _give_back() -> None:
    """To the pool, where there is one. SQLite's stay with their threads: opening one costs more than a read."""
    if connection.vendor != "sqlite":
        connection.close()


def number_in(query: Mapping[str, str], name: str, default: int, most: int = MAX_SEQ) -> int:
    """A number from 0 to ``most`` in a query string. Raises ``Invalid``."""
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most):
        raise Invalid(f"{name} must be a number from 0 to {most}.", fields={name: [f"must be from 0 to {most}"]})
    return int(text)
