"""Messages between the agents of a project, within the project's limits."""

from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.permissions import Can, require
from mailboxes import services as mail
from nodes.contract.errors import Invalid, NotFound

from ...models import Agent
from ..errors import MessageLimitReached
from ..models import Task
from ..queries import find_colleague, find_round, limits_of, own_agent
from .moves import lock_task

EVERYBODY: Final = "team:all"


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
) -> mail.Sent:
    """To an agent of the sender's project by its name; without one, to all of its other agents.

    A message about a round counts against ``max_messages_per_task`` of its task, and each reply against
    ``max_hop_count``. Raises ``NotFound`` for an agent or round that is not there, ``MessageLimitReached``, and what
    ``mailboxes.services.send`` does.
    """
    agent = own_agent(by)
    require(by, Can.SEND_MESSAGE, agent)
    limits = limits_of(agent.project_id)
    round_ = find_round(by, round_id) if round_id else None
    recipients = _recipients(agent, to_agent)
    made: dict[str, Any] = {
        "payload": {"body": body, **({"round_id": str(round_.pk)} if round_ else {})},
        "subject": subject,
        "kind": kind,
        "audience": "" if to_agent else EVERYBODY,
        "reply_to": reply_to,
        "dedupe_key": dedupe_key,
        "most_hops": limits.max_hop_count,
    }
    sender = mail.Address.of("agent", agent.pk)
    if round_ is None:
        return mail.send(agent.project_id, sender, recipients, **made)
    with transaction.atomic():
        task = lock_task(round_.task_id)
        sent = mail.send(agent.project_id, sender, recipients, **made)
        if sent.created:
            _count(task, limits.max_messages_per_task)
        return sent


def _count(task: Task, most: int) -> None:
    counted = Task.objects.filter(pk=task.pk, message_count__lt=most).update(message_count=F("message_count") + 1)
    if not counted:
        raise MessageLimitReached(
            f"The rounds of {task.key} have had their {most} messages. Have an operator raise max_messages_per_task.",
            limit=most,
        )


def _recipients(sender: Agent, name: str | None) -> list[mail.Address]:
    if name is not None:
        found = find_colleague(sender.project_id, name)
        if found is None:
            raise NotFound(f"There is no agent {name[:80]!r} in your project.")
        return [mail.Address.of("agent", found.pk)]
    others = Agent.objects.filter(project=sender.project_id, archived_at=None).exclude(pk=sender.pk)
    to = [mail.Address.of("agent", pk) for pk in others.values_list("pk", flat=True)]
    if not to:
        raise Invalid("You are the only agent of your project: name the one to write to.")
    return to
