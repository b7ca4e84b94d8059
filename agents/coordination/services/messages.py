"""Messages between the agents of a project, within the project's limits."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F

from agenthub_site.accounts.actors import Actor, ActorKind
from agenthub_site.accounts.permissions import Can, require
from mailboxes import services as mail
from mailboxes.limits import HOPS
from mailboxes.tables import run_query, uuid_of_db, uuid_to_db
from nodes.contract.errors import Invalid, NotFound

from ...mail.addressing import TEAM_ALL, Recipients, WebhookOff, resolve
from ...mail.repeats import went_to
from ..errors import AgentsOnly, MessageLimitReached
from ..models import Limits, Round, Task
from ..queries import as_uuid, find_round, limits_of
from .moves import lock_task

_KEY: Final = '"round_id"'
"""As it stands in the text of a payload that has it."""


def send_message(
    *,
    by: Actor,
    subject: str,
    body: str,
    to_agent: str | None = None,
    kind: str = "info",
    dedupe_key: str | None = None,
    round_id: str | None = None,
    reply_to: UUID | None = None,
    run_id: UUID | None = None,
    more: Mapping[str, str] | None = None,
) -> mail.Sent:
    """To an agent of the sender's project by its name; to ``team:SLUG``, ``user:NAME`` or ``webhook:NAME``; without a
    name, to all of the project's other agents.

    It belongs to the run ``run_id``; an answer belongs to that of what it answers. ``more`` goes into the payload,
    beside the ``body``.

    A message about a round counts against ``max_messages_per_task`` of its task, and so does an answer to it, which is
    about the same round; each reply counts against ``max_hop_count``. Raises ``NotFound`` for an agent or round that is
    not there, ``MessageLimitReached``, and what ``mailboxes.services.send`` does.
    """
    here = _look_round(by, to_agent)
    require(by, Can.SEND_MESSAGE, here.project_id)
    round_ = find_round(by, round_id) if round_id else _round_of(here.project_id, reply_to)
    recipients = here.to(to_agent, dedupe_key)
    payload = {**(more or {}), "body": body, **({"round_id": str(round_.pk)} if round_ else {})}
    made = mail.draft(
        here.project_id, here.sender, recipients.addresses, payload, subject=subject, kind=kind,
        audience=recipients.audience, reply_to=reply_to, dedupe_key=dedupe_key, run_id=None if reply_to else run_id,
        most_hops=here.max_hop_count,
    )  # fmt: skip
    return _post_counted(made, round_.task_id) if round_ else mail.post(made)


def posting_for_task(made: mail.Draft) -> Callable[[], mail.Sent] | None:
    """What posts a draft of another door's that is about a round, within its task's limit; None for any other.

    That is one whose payload has the ``round_id`` of a round of the project, or that answers one that is about one.
    """
    if made.reply_to is None and _KEY not in made.payload:
        return None
    texts = [made.payload, *_thread_of(made.project_id, made.reply_to)]
    round_ = _first_round(made.project_id, texts)
    return partial(_post_counted, made, round_.task_id) if round_ else None


@transaction.atomic
def _post_counted(made: mail.Draft, task_id: UUID) -> mail.Sent:
    task = lock_task(task_id)
    sent = mail.post(made)
    if sent.created:
        _count(task, limits_of(made.project_id).max_messages_per_task)
    return sent


def _round_of(project_id: UUID, answered: UUID | None) -> Round | None:
    """The round that the message which is answered is about."""
    return _first_round(project_id, _thread_of(project_id, answered))


def _first_round(project_id: UUID, texts: Iterable[str]) -> Round | None:
    """The first that a payload names and that is the project's: other doors' say what they like."""
    payloads = [json.loads(text) for text in texts if _KEY in text]
    said = [as_uuid(payload.get("round_id")) for payload in payloads if isinstance(payload, dict)]
    if not any(said):
        return None
    found = Round.objects.filter(project=project_id).in_bulk([pk for pk in said if pk])
    return next((found[pk] for pk in said if pk in found), None)


def _thread_of(project_id: UUID, answered: UUID | None) -> list[str]:
    """The payloads that may name a round: of the message that is answered, of the one that it answers, and so on."""
    if answered is None:
        return []
    rows = run_query(
        "WITH RECURSIVE thread (id, payload, reply_to_id, depth) AS ("
        "SELECT id, payload, reply_to_id, 0 FROM mailbox_message WHERE id = %s AND project_id = %s "
        "UNION ALL SELECT m.id, m.payload, m.reply_to_id, t.depth + 1 FROM mailbox_message m "
        "JOIN thread t ON m.id = t.reply_to_id WHERE t.depth < %s) "
        "SELECT payload FROM thread WHERE payload LIKE %s ORDER BY depth",
        [uuid_to_db(answered), uuid_to_db(project_id), HOPS, f"%{_KEY}%"],
    )
    return [text for (text,) in rows]


def _count(task: Task, most: int) -> None:
    counted = Task.objects.filter(pk=task.pk, message_count__lt=most).update(message_count=F("message_count") + 1)
    if not counted:
        raise MessageLimitReached(
            f"The rounds of {task.key} have had their {most} messages. Have an operator raise max_messages_per_task.",
            limit=most,
        )


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """The sender, and those of its project who may be meant: by name and by id."""

    project_id: UUID
    sender: mail.Address
    max_hop_count: int
    names: dict[str, UUID]

    def to(self, name: str | None, dedupe_key: str | None) -> Recipients:
        """``_find``; or whom it went to before under its key, though they are gone."""
        try:
            return self._find(name)
        except (NotFound, Invalid, WebhookOff):
            words = [TEAM_ALL if name is None else name]
            before = went_to(self.project_id, words, sender=self.sender, dedupe_key=dedupe_key)
            if before is None:
                raise
            return before

    def _find(self, name: str | None) -> Recipients:
        """An agent by its name or id; who is named by ``team:``, ``user:`` or ``webhook:``; all others without a name.

        Raises ``NotFound``, ``Invalid``, ``WebhookOff``.
        """
        if name is not None and ":" in name:  # which no agent's name has
            return resolve(self.project_id, [name], sender=self.sender)
        if name is not None:
            pk = self.names.get(name)
            if pk is None and (asked := as_uuid(name)) in self.names.values():
                pk = asked
            if pk is None:
                raise NotFound(f"There is no agent {name[:80]!r} in your project.")
            return Recipients((mail.Address.of("agent", pk),))
        addresses = [mail.Address.of("agent", pk) for pk in self.names.values()]
        others = tuple(address for address in addresses if address != self.sender)
        if not others:
            raise Invalid("You are the only agent of your project: name the one to write to.")
        return Recipients(others, TEAM_ALL)


def _look_round(by: Actor, name: str | None) -> _Surroundings:
    """In one statement, since every message begins with it. Raises ``AgentsOnly``, ``Invalid``."""
    if by.kind is not ActorKind.AGENT:
        raise AgentsOnly()
    (project_id,) = by.project_ids
    meant, values = "", []
    if name is not None:
        if not name:
            problem = "An empty to_agent is nobody: name an agent, or leave it out to write to all."
            raise Invalid(problem, fields={"to_agent": ["leave it out to write to all"]})
        name = name.replace("\x00", "")  # which no database takes, and no name has
        meant = "AND (a.id = %s OR a.name = %s OR a.id = %s)"
        values = [uuid_to_db(UUID(by.id)), name, uuid_to_db(as_uuid(name) or UUID(by.id))]
    rows = run_query(
        "SELECT a.id, a.name, l.max_hop_count FROM agents_agent a "  # noqa: S608
        "LEFT JOIN coordination_limits l ON l.project_id = a.project_id "
        f"WHERE a.project_id = %s AND a.archived_at IS NULL {meant}",
        [uuid_to_db(project_id), *values],
    )
    names = {said: uuid_of_db(pk) for pk, said, _ in rows}
    if UUID(by.id) not in names.values():
        raise AgentsOnly()
    hops = Limits().max_hop_count if rows[0][2] is None else rows[0][2]
    return _Surroundings(project_id, mail.Address.of("agent", by.id), hops, names)
