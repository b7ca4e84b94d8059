"""``record()``: who did what, on what, from where, as the next number of a stream."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models
from django.db.transaction import TransactionManagementError

from audit import bell
from audit.models import AuditEvent
from audit.rows import Row, insert_rows
from nodes.contract.ids import new_id

INSTANCE: Final = "instance"
"""The stream of what belongs to no project."""


class ActorLike(Protocol):
    """What the trail keeps of an actor."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def user_agent(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Who:
    """An actor that only the trail knows."""

    kind: str
    id: str = ""
    label: str = ""
    address: str = ""
    user_agent: str = ""


THE_HUB: Final = Who("system", "system", "AgentHub")
"""The hub itself, as the trail names it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One entry of the trail, but for its number, its time and who it was."""

    project: UUID | None
    name: str
    of: tuple[str, object] | None = None
    node: UUID | None = None
    run: UUID | None = None
    approval: UUID | None = None
    artifact: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def stream_of(project_id: UUID | None) -> str:
    """The name of a project's audit stream, or of the instance's."""
    return f"project:{project_id}" if project_id else INSTANCE


def record(
    project_id: UUID | None,
    name: str,
    *,
    by: ActorLike,
    of: tuple[str, object] | None = None,
    node: UUID | None = None,
    run: UUID | None = None,
    approval: UUID | None = None,
    artifact: str = "",
    **data: Any,
) -> int:
    """Write ``name`` (``noun.past``) to the trail and return its number; the bell rings on commit.

    To be called within a transaction, as its last act: the stream's row stays locked
    until the end of it, which is what makes numbers dense and "everything after N" true.
    ``data`` is small, and free of secrets.
    """
    stream = stream_of(project_id)
    number = take_numbers({stream: 1})[stream]
    fact = Fact(project_id, name, of=of, node=node, run=run, approval=approval, artifact=artifact, data=data)
    insert_rows([_row(fact, stream, number, by, datetime.now(UTC))])
    bell.ring_on_commit(stream, number)
    return number


def record_all(facts: Sequence[Fact], *, by: ActorLike) -> None:
    """Write many facts as ``record`` does, in two statements; those of a stream are numbered in the order given."""
    streams = [stream_of(fact.project) for fact in facts]
    last = take_numbers(Counter(streams))
    left = Counter(streams)
    rows, now = [], datetime.now(UTC)
    for fact, stream in zip(facts, streams, strict=True):
        left[stream] -= 1
        rows.append(_row(fact, stream, last[stream] - left[stream], by, now))
    insert_rows(rows)
    for stream, number in last.items():
        bell.ring_on_commit(stream, number)


def _row(fact: Fact, stream: str, number: int, by: ActorLike, at: datetime) -> Row:
    kind, key = fact.of or ("", "")
    return Row(
        id=new_id(),
        stream=stream,
        number=number,
        name=fact.name,
        at=at,
        actor_kind=_cut("actor_kind", by.kind),
        actor_id=_cut("actor_id", by.id),
        actor_label=_cut("actor_label", by.label),
        object_kind=_cut("object_kind", kind),
        object_id=_cut("object_id", key),
        project=_uuid(fact.project),
        node=_uuid(fact.node),
        run=_uuid(fact.run),
        approval=_uuid(fact.approval),
        artifact=_cut("artifact", fact.artifact),
        address=_cut("address", by.address),
        user_agent=_cut("user_agent", by.user_agent),
        data=json.dumps(fact.data, cls=DjangoJSONEncoder),
    )


def take_numbers(counts: Mapping[str, int]) -> dict[str, int]:
    """Advance each stream by its count, in one statement and in the order of their names; the last number of each.

    Refused outside a transaction: a number given and not used would be a gap.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("Numbers of a stream are taken within the transaction that uses them.")
    names = sorted(counts)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO audit_stream (name, last_number) VALUES {', '.join(['(%s, %s)'] * len(names))} "  # noqa: S608
            "ON CONFLICT (name) DO UPDATE SET last_number = audit_stream.last_number + excluded.last_number "
            "RETURNING name, last_number",
            [value for name in names for value in (name, counts[name])],
        )
        return dict(cursor.fetchall())


_WIDTHS: Final = {
    field.name: field.max_length for field in AuditEvent._meta.concrete_fields if isinstance(field, models.CharField)
}


def _uuid(value: UUID | str | None) -> UUID | None:
    return UUID(value) if isinstance(value, str) else value


def _cut(field: str, value: object) -> str:
    """The text as the column takes it: a user agent may be of any length and hold anything."""
    return str(value).replace("\x00", "\ufffd")[: _WIDTHS[field]]
