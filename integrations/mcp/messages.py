"""Tools for reading and writing messages."""

from collections.abc import Iterable
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field

from agenthub_site.accounts.actors import Actor, ActorKind
from agenthub_site.accounts.models import User
from agenthub_site.accounts.permissions import Can, require
from agents.coordination.errors import AgentsOnly
from agents.coordination.models import Round
from agents.coordination.queries import as_uuid
from agents.coordination.services.messages import send_message
from agents.coordination.services.notices import HUB
from agents.mail.addressing import TEAM_ALL
from agents.models import Agent
from mailboxes import services as mail
from mailboxes.limits import MOST_PER_PAGE, SUBJECT_CHARS
from mailboxes.reading import Mail
from nodes.contract.errors import NotFound

from ..agent_hub.mapping import message_kind, one_line
from .rows import Row, when
from .tool import Asking, Json, as_text, tool

ANSWER_BYTES: Final = 384 * 1024
"""Of messages or assignments in one answer: they go over the wire twice, and clients take no answer of any size."""


_TOLD: Final = ("body", "round_id", "msg_type", "subject")
"""Of a payload, what a row has by itself. A subject or kind that does not fit ours is kept there as it was written."""


@tool(Can.READ_MESSAGES, is_reading=True)
async def inbox_pull(
    asking: Asking, limit: Annotated[int, Field(description="At most so many.", ge=1, le=500)] = 20
) -> Json:
    """Read your unread messages, oldest first. They stay unread until you `message_ack` each of them."""
    told: Json = await asking.in_thread(_pull, asking, limit)
    return told


def _pull(asking: Asking, limit: int) -> Json:
    own, project_id = _own_inbox(asking.actor)
    most = min(limit + 1, MOST_PER_PAGE)
    page = mail.inbox(own, limit=most, state="open", projects=[project_id], apart=asking.within.apart)
    fitting: list[Mail] = []
    size = 0
    for each in page.results[:limit]:
        size += len(each.payload_text) + 1_000
        if fitting and size > ANSWER_BYTES:
            break
        fitting.append(each)
    names = _names_of([own, *(each.sender for each in fitting)]) if fitting else {}
    rounds = _rounds_of(fitting, project_id)
    told: dict[str, Any] = {"messages": [_message_row(each, names, rounds) for each in fitting]}
    is_cut = len(fitting) < len(page.results) or len(page.results) == MOST_PER_PAGE
    return told | ({"has_more": True} if is_cut else {})


@tool(Can.SEND_MESSAGE)
async def message_send(
    asking: Asking,
    *,
    to_agent: Annotated[
        str | None,
        Field(
            description="An agent of your project, or team:NAME, user:NAME (as `inbox_pull` told it), webhook:NAME. "
            "Left out: all agents, each with its own copy."
        ),
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
    """Send a message to an agent or person of your project, a team, or all agents. It is kept until acknowledged."""
    answered = as_uuid(reply_to) if reply_to else None
    if reply_to and answered is None:
        raise NotFound("There is no message of that id that you sent or got.")
    line, kind = one_line(subject)[:SUBJECT_CHARS], message_kind(msg_type)
    kept = (("subject", subject, line), ("msg_type", msg_type, kind))
    told: Json = await asking.in_thread(
        _send, by=asking.actor, to_agent=to_agent, subject=line, body=body, kind=kind,
        more={name: said for name, said, ours in kept if said != ours},
        dedupe_key=dedupe_key or asking.within.key or None, round_id=round_id or None, reply_to=answered,
        run_id=asking.within.run_id,
    )  # fmt: skip
    return told


def _send(**said: Any) -> Json:
    return {"message_id": str(send_message(**said).message_id)}


@tool(Can.READ_MESSAGES, is_repeatable=True)
async def message_ack(
    asking: Asking, message_id: Annotated[str, Field(description="As `inbox_pull` told it.")]
) -> Json:
    """Mark a message of yours as read. Doing so twice is fine."""
    told: Json = await asking.in_thread(_ack, asking, message_id)
    return told


def _ack(asking: Asking, message_id: str) -> Json:
    own, project_id = _own_inbox(asking.actor)
    pk = as_uuid(message_id)
    acked = mail.ack(own, [pk], projects=[project_id], apart=asking.within.apart)[0] if pk else None
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


def _round_of(each: Mail) -> UUID | None:
    return as_uuid(each.payload.get("round_id")) if isinstance(each.payload, dict) else None


def _rounds_of(mails: Iterable[Mail], project_id: UUID) -> set[UUID]:
    """Those that there are in the project: payloads by other doors say what they like. One query, if any says one."""
    said = {round_id for each in mails if (round_id := _round_of(each))}
    return set(Round.objects.filter(pk__in=said, project=project_id).values_list("pk", flat=True)) if said else set()


def _message_row(each: Mail, names: dict[mail.Address, str], rounds: set[UUID]) -> Row:
    """``rounds`` are those that there are. A round that is none stays a part of what else was said."""
    round_id = _round_of(each)
    payload = each.payload if isinstance(each.payload, dict) else {"body": each.payload}
    rest = {name: value for name, value in payload.items() if name not in _TOLD}
    if round_id not in rounds and "round_id" in payload:
        rest["round_id"] = payload["round_id"]
    body = payload.get("body")
    if not isinstance(body, str):  # it came by another door, and is whatever JSON its sender wrote
        body, rest = each.payload_text, {}
    return {
        "id": str(each.message_id),
        "dedupe_key": each.dedupe_key or str(each.message_id),
        "reply_to": str(each.reply_to) if each.reply_to else None,
        "from_agent": names.get(each.sender, str(each.sender)),
        "to_agent": _to(each, names),
        "round_id": str(round_id) if round_id in rounds else None,
        "msg_type": payload.get("msg_type", each.kind),
        "subject": payload.get("subject", each.subject),
        "body": body,
        "context_json": as_text(rest),
        "hop_count": each.hop_count,
        "is_read": 0,
        "created_at": when(each.created_at),
    }


def _to(each: Mail, names: dict[mail.Address, str]) -> str | None:
    """Nobody by name where it went to all; the team where it went to one."""
    if each.audience:
        return None if each.audience == TEAM_ALL else each.audience
    return names.get(each.recipient)


def _names_of(senders: Iterable[mail.Address]) -> dict[mail.Address, str]:
    """What senders are called: agents by name, people as ``user:name``. Two queries at most."""
    wanted: dict[str, set[str]] = {"agent": set(), "user": set()}
    for sender in senders:
        wanted.setdefault(sender.kind, set()).add(sender.id)
    names: dict[mail.Address, str] = {HUB: "AgentHub"}
    if wanted["agent"]:
        rows = Agent.objects.filter(pk__in=wanted["agent"]).values_list("pk", "name")
        names |= {mail.Address.of("agent", pk): name for pk, name in rows}
    if wanted["user"]:
        people = User.objects.filter(pk__in=wanted["user"]).values_list("pk", "username")
        names |= {mail.Address.of("user", pk): f"user:{name}" for pk, name in people}
    return names
