"""The verbs of ``agenthub actor``, whichever way a call came: through a run's node, or over the actor service."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field

from agenthub_site.accounts.actors import ActorKind
from agenthub_site.accounts.permissions import Can, require
from mailboxes.services import settling
from mailboxes.settling import Acked, write_acks
from mailboxes.writer import writer
from nodes.contract.errors import Forbidden, Invalid

from ..models import Agent
from ..queries import count_live_runs
from ..reading import in_thread
from ..teams.models import ALL
from ..triggers import calls
from .acting import Acting, run_to_write_in
from .addressing import TEAM, address_of, members_of, names_of, teams_of
from .desk import find_run, project_at_hand, projects_of, read_inbox, require_own
from .doors import receive_waiting, send_for
from .reviews import RespondIn, respond
from .shapes import AckIn, InboxIn, ReceiveIn, SendIn, Shape, read_shape, show_sent

CALL_BYTES: Final = 128 * 1024
"""A call's body at most."""
_MOST_MAILS: Final = 50
"""In one answer: at their largest, 3 MiB."""


class TeamIn(Shape):
    run_id: UUID | None = None
    project: str = ""
    team: str = ALL


class ActorInboxIn(Shape):
    limit: Annotated[int, Field(ge=1, le=_MOST_MAILS)] = 20
    after: Annotated[int, Field(ge=0, lt=2**62)] = 0
    include_delivered: bool = False
    """Acked and dead ones as well."""
    run_id: UUID | None = None


class ActorReceiveIn(ReceiveIn):
    limit: Annotated[int, Field(ge=1, le=_MOST_MAILS)] = 10


Body = bytes


async def team_members(by: Acting, body: Body) -> dict[str, Any]:
    """Who is in a team of the actor's project: agents, with how many live runs they have, and people."""
    return await in_thread(_team, by, read_shape(TeamIn, body))


def _team(by: Acting, given: TeamIn) -> dict[str, Any]:
    run = find_run(by.actor, given.run_id)
    project_id = project_at_hand(by.actor, given.project, run, by.project_id)
    require(by.actor, Can.VIEW, project_id)
    slug = given.team.removeprefix(TEAM)
    members = members_of(project_id, slug)
    names = names_of(members)
    live = count_live_runs("agent")
    told = dict(Agent.objects.filter(project=project_id, archived_at=None).values_list("pk", "description"))
    me = address_of(by.actor)
    return {
        "team": slug,
        "teams": teams_of(project_id),
        "project": str(project_id),
        "members": [
            {
                "actor_id": member.id,
                "kind": member.kind,
                "name": names[member],
                "description": told.get(UUID(member.id), "") if member.kind == "agent" else "",
                "live_runs": live[UUID(member.id)] if member.kind == "agent" else None,
                "is_you": member == me,
            }
            for member in members
        ],
    }


async def inbox(by: Acting, body: Body) -> dict[str, Any]:
    """What is open in the actor's inbox; reading changes nothing."""
    given = read_shape(ActorInboxIn, body)
    state = None if given.include_delivered else "open"
    wanted = InboxIn(after=given.after, limit=given.limit, run_id=given.run_id, state=state)
    page = await in_thread(read_inbox, by.actor, wanted, by.apart)
    return {"messages": page.pop("results"), **page}


async def receive(by: Acting, body: Body) -> dict[str, Any]:
    """Lease what is due, and wait for it if the body says so."""
    require_own(by.actor)
    given = read_shape(ActorReceiveIn, body)
    return {"messages": await receive_waiting(by.actor, given, by.apart)}


async def ack(by: Acting, body: Body) -> dict[str, Any]:
    """Settle each, in order; one that cannot be settled has its ``error`` and stops none behind it."""
    require_own(by.actor)
    given = read_shape(AckIn, body)
    wanted = settling(
        address_of(by.actor), given.message_ids, run_id=given.run_id, projects=projects_of(by.actor), apart=by.apart
    )
    return {"results": [_acked(each) for each in await writer.write_async(write_acks, wanted)]}


def _acked(each: Acked) -> dict[str, Any]:
    if each.code:
        said = {"code": each.code, "message": f"There is no message {str(each.id)[:80]} in this inbox.", "data": {}}
        return {"message_id": str(each.id), "error": said}
    return {
        "message_id": str(each.message_id),
        "number": each.number,
        "status": each.state,
        "status_changed": each.changed,
        "acked_at": each.acked_at.isoformat().replace("+00:00", "Z") if each.acked_at else None,
    }


async def send(by: Acting, body: Body) -> dict[str, Any]:
    """Write to others of the project; what is written within a run belongs to it. Raises ``OtherRun``."""
    given = read_shape(SendIn, body)
    if by.project_id is not None and not given.project:
        given = given.model_copy(update={"project": str(by.project_id)})
    run_id = run_to_write_in(by, given.run_id)
    if given.reply_to is None:
        given = given.model_copy(update={"run_id": run_id})
    return {"status": "queued", **show_sent(await send_for(by.actor, given, within=by.run_id))}


async def permission_review_respond(by: Acting, body: Body) -> dict[str, Any]:
    """Answer each question that was put to the agent, in order; a refusal stops none behind it.

    A person's answer shows who the person is: here whoever has the nodes' secret could give anybody's.
    """
    if by.actor.kind is not ActorKind.AGENT:
        raise Forbidden("People answer by the web, the API or the operator's socket.")
    return {"results": await in_thread(respond, by.actor, read_shape(RespondIn, body))}


VERBS: Final[Mapping[str, Callable[[Acting, Body], Awaitable[dict[str, Any]]]]] = {
    "team-members": team_members,
    "inbox": inbox,
    "receive": receive,
    "ack": ack,
    "send": send,
    "permission-review-respond": permission_review_respond,
    "time-trigger-set": calls.set_,
    "time-trigger-list": calls.list_,
    "time-trigger-cancel": calls.cancel,
}


async def call(by: Acting, verb: str, body: Body) -> dict[str, Any]:
    """What ``verb`` answers. Raises ``HubError``."""
    answer = VERBS.get(verb)
    if answer is None:
        raise Invalid(f"There is no {verb[:64]!r} among what an actor can ask: {', '.join(VERBS)}.")
    if len(body) > CALL_BYTES:
        raise Invalid(f"A call has at most {CALL_BYTES} bytes.", limit_bytes=CALL_BYTES)
    return await answer(by, body)
