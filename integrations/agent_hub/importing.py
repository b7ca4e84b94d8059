"""All that is alive of agent-hub-mcp's database, into one project: at once or not at all, and twice is once."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import transaction

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project
from agents.coordination.models import Presence
from agents.coordination.services.importing import import_lock, import_task
from agents.mail.addressing import TEAM_ALL
from agents.models import Agent
from agents.services.agents import create_agent
from integrations.cli.old_hub import OldHub, Row
from mailboxes import services as mail
from mailboxes.errors import DedupeConflict, PayloadTooDeep, PayloadTooLarge
from mailboxes.limits import SUBJECT_CHARS
from nodes.contract.errors import Invalid

from .mapping import OldRows, clean, message_kind, one_line

MOST_HOPS: Final = 2**14
"""What was said before is not refused for how often it was passed on."""


@dataclass(slots=True)
class TakenOver:
    """What came over; what was here ``already_here``; and in words what was ``left`` behind, and why."""

    agents: int = 0
    tasks: int = 0
    rounds: int = 0
    assignments: int = 0
    handoffs: int = 0
    messages: int = 0
    locks: int = 0
    already_here: int = 0
    left: list[str] = field(default_factory=list)


@transaction.atomic
def take_over(project: Project, old: OldHub, *, by: Actor) -> TakenOver:
    """Import what is alive. Raises ``Invalid`` for an agent whose name cannot be one here."""
    told = TakenOver()
    agents = _agents(project, old, by, told)
    rows = OldRows(project.pk, old, agents)
    for row in old.tasks:
        _take_task(project, rows, row, by, told)
    _take_messages(project, old, rows, agents, told)
    for row in old.locks:
        if not 0 < len(row["lock_key"]) <= 255 or not row["lock_key"].isprintable():
            told.left.append(f"the lock {one_line(row['lock_key'])[:40]!r}: its name does not fit")
        elif import_lock(project, rows.lock(row), by=by):
            told.locks += 1
        else:
            told.already_here += 1
    for number, what in (
        (old.ended_tasks, "tasks that are over, with their rounds"),
        (old.read_messages, "messages that were read"),
        (old.expired_locks, "locks that ran out"),
    ):
        if number:
            told.left.append(f"{what}: {number}")
    return told


def _agents(project: Project, old: OldHub, by: Actor, told: TakenOver) -> dict[str, Agent]:
    """By their ids there, which are their names here; made where they are missing, with what they say of themselves."""
    names = {row["id"] for row in old.agents}
    found = {agent.name: agent for agent in Agent.objects.filter(project=project, archived_at=None, name__in=names)}
    for row in old.agents:
        if row["id"] in found:
            continue
        try:
            found[row["id"]] = create_agent(project, by=by, name=row["id"], runtime=Agent.Runtime.EXTERNAL)
        except Invalid as error:
            why = f"The agent {one_line(row['id'])[:80]!r} cannot be named so here: {error.text}"
            raise Invalid(why, fields={"agents": [why]}) from error
        told.agents += 1
        Presence.objects.get_or_create(
            agent=found[row["id"]],
            defaults={"name": one_line(row["name"])[:128], "capabilities": _capabilities(row["capabilities"])},
        )
    return found


def _take_task(project: Project, rows: OldRows, row: Row, by: Actor, told: TakenOver) -> None:
    if not 0 < len(row["id"]) <= 128 or not row["id"].isprintable():
        told.left.append(f"the task {one_line(row['id'])[:40]!r}: its id does not fit")
        return
    given = rows.task(row)
    if not import_task(project, given, by=by):
        told.already_here += 1
        return
    items = [item for each in given.rounds for item in each.assignments]
    told.tasks += 1
    told.rounds += len(given.rounds)
    told.assignments += len(items)
    told.handoffs += sum(item.handoff is not None for item in items)


def _take_messages(project: Project, old: OldHub, rows: OldRows, agents: dict[str, Agent], told: TakenOver) -> None:
    rounds = {row["id"]: str(rows.id_of("round", row)) for row in old.rounds}
    sent: dict[str, mail.Sent] = {}
    for row in old.messages:
        sender = agents[row["from_agent"]]
        to = [agents[row["to_agent"]]] if row["to_agent"] else _others(project, sender)
        payload: dict[str, Any] = {
            "body": clean(row["body"]),
            "sent_at": row["created_at"].isoformat() if row["created_at"] else None,
            "message_id": row["id"],
        }
        if row["round_id"] in rounds:
            payload["round_id"] = rounds[row["round_id"]]
        if row["msg_type"] != (kind := message_kind(row["msg_type"])):
            payload["msg_type"] = clean(row["msg_type"])
        if row["subject"] != (subject := one_line(row["subject"])[:SUBJECT_CHARS]):
            payload["subject"] = clean(row["subject"])
        answered = sent.get(row["reply_to"])
        try:
            made = mail.send(
                project.pk, mail.Address.of("agent", sender.pk), [mail.Address.of("agent", each.pk) for each in to],
                payload, subject=subject, kind=kind, audience="" if row["to_agent"] else TEAM_ALL,
                reply_to=answered.message_id if answered else None, dedupe_key=f"agent-hub-mcp:{row['id']}"[:128],
                most_hops=MOST_HOPS,
            )  # fmt: skip
        except DedupeConflict:  # it came over before, when what it answers had not been read yet
            told.already_here += 1
            continue
        except (PayloadTooLarge, PayloadTooDeep) as error:
            told.left.append(f"the message {row['id']} of {sender.name}: {error.text.removesuffix('.')}")
            continue
        sent[row["id"]] = made
        told.messages += made.created
        told.already_here += not made.created


def _others(project: Project, sender: Agent) -> list[Agent]:
    return list(Agent.objects.filter(project=project, archived_at=None).exclude(pk=sender.pk)) or [sender]


def _capabilities(text: str | None) -> list[str]:
    try:
        said = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return [one_line(each)[:64] for each in said if isinstance(each, str)][:50] if isinstance(said, list) else []
