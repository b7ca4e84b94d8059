"""Tools for reading and writing messages."""

from collections.abc import Iterable
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field

from agenthub_site.accounts.actors import Actor, ActorKind
from agenthub_site.accounts.models import User
from agenthub_site.accounts.permissions import Can, require
from agents.coordination.errors import AgentsOnly
from agents.coordination.queries import as_uuid
from agents.coordination.services.messages import send_message
from agents.models import Agent
from mailboxes import services as mail
from mailboxes.reading import Mail
from nodes.contract.errors import NotFound

from .rows import Row, when
from .tool import Json, as_text, tool

ANSWER_BYTES: Final = 384 * 1024
"""Of messages or assignments in one answer: they go over the wire twice, and clients take no answer of any size."""


@tool(Can.READ_MESSAGES, is_reading=True)
def inbox_pull(actor: Actor, limit: Annotated[int, Field(description="At most so many.", ge=1, le=500)] = 20) -> Json:
    """Read your unread messages, oldest first. They stay unread until you `message_ack` each of them."""
    own, project_id = _own_inbox(actor)
    page = mail.inbox(own, limit=limit, state="open", projects=[project_id])
    fitting: list[Mail] = []
    size = 0
    for each in page.results:
        size += len(each.payload_text) + 1_000
        if fitting and size > ANSWER_BYTES:
            break
        fitting.append(each)
    names = _names_of([own, *(each.sender for each in fitting)]) if fitting else {}
    told: dict[str, Any] = {"messages": [_message_row(each, names) for each in fitting]}
    return told | ({"has_more": True} if len(fitting) < len(page.results) else {})


@tool(Can.SEND_MESSAGE)
def message_send(
    actor: Actor,
    *,
    to_agent: Annotated[
        str | None, Field(description="An agent of your project. Left out: all of them, each with its own copy.")
    ] = None,
    subject: Annotated[str, Field(description="One line.")],
    body: Annotated[str, Field(description="At most 60 KiB; put longer things into the repository, and name them.")],
    msg_type: Annotated[str, Field(description="A word: info, question, answer, handoff, review.")] = "info",
    dedupe_key: Annotated[
        str, Field(description="Sending again under the same key is the same message, and is not delivered twice.")
    ] = "",
    round_id: Annotated[str, Field(description="The round that it is about. Counts against the task's limit.")] = "",
    reply_to: Annotated[str, Field(description="The id of the message that you answer.")] = "",
) -> Json:
    """Send a message to another agent of your project, or to all of them. It is kept until it is acknowledged."""
    answered = as_uuid(reply_to) if reply_to else None
    if reply_to and answered is None:
        raise NotFound("There is no message of that id that you sent or got.")
    sent = send_message(
        by=actor, to_agent=to_agent or None, subject=subject, body=body, kind=msg_type,
        dedupe_key=dedupe_key or None, round_id=round_id or None, reply_to=answered,
    )  # fmt: skip
    return {"message_id": str(sent.message_id)}


@tool(Can.READ_MESSAGES, is_repeatable=True)
def message_ack(actor: Actor, message_id: Annotated[str, Field(description="As `inbox_pull` told it.")]) -> Json:
    """Mark a message of yours as read. Doing so twice is fine."""
    own, project_id = _own_inbox(actor)
    pk = as_uuid(message_id)
    acked = mail.ack(own, [pk], projects=[project_id])[0] if pk else None
    if acked is None or acked.code:
        raise NotFound("You have no such message.")
    return {"changed": acked.changed}


def _own_inbox(actor: Actor) -> tuple[mail.Address, UUID]:
    """The agent's, and its project. Without asking the database: the token of one that was put away is no good."""
    if actor.kind is not ActorKind.AGENT:
        raise AgentsOnly()
    (project_id,) = actor.project_ids
    require(actor, Can.READ_MESSAGES, project_id)
    return mail.Address.of("agent", actor.id), project_id


def _message_row(each: Mail, names: dict[mail.Address, str]) -> Row:
    payload = each.payload if isinstance(each.payload, dict) else {"body": each.payload}
    rest = {name: value for name, value in payload.items() if name not in ("body", "round_id")}
    body = payload.get("body")
    if not isinstance(body, str):  # it came by another door, and is whatever JSON its sender wrote
        body, rest = each.payload_text, {}
    return {
        "id": str(each.message_id),
        "dedupe_key": each.dedupe_key,
        "reply_to": str(each.reply_to) if each.reply_to else None,
        "from_agent": names.get(each.sender, str(each.sender)),
        "to_agent": None if each.audience else names.get(each.recipient),
        "round_id": payload.get("round_id"),
        "msg_type": each.kind,
        "subject": each.subject,
        "body": body,
        "context_json": as_text(rest),
        "hop_count": each.hop_count,
        "is_read": 0,
        "created_at": when(each.created_at),
    }


def _names_of(senders: Iterable[mail.Address]) -> dict[mail.Address, str]:
    """What senders are called: agents by name, people as ``user:name``. Two queries at most."""
    wanted: dict[str, set[str]] = {"agent": set(), "user": set()}
    for sender in senders:
        wanted.setdefault(sender.kind, set()).add(sender.id)
    names: dict[mail.Address, str] = {}
    if wanted["agent"]:
        rows = Agent.objects.filter(pk__in=wanted["agent"]).values_list("pk", "name")
        names |= {mail.Address.of("agent", pk): name for pk, name in rows}
    if wanted["user"]:
        people = User.objects.filter(pk__in=wanted["user"]).values_list("pk", "username")
        names |= {mail.Address.of("user", pk): f"user:{name}" for pk, name in people}
    return names
