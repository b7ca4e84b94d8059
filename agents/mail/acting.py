"""For whom a call of ``agenthub actor`` speaks: the agent of a live run, or whoever an operator names."""

from dataclasses import dataclass
from uuid import UUID

from agenthub_site.accounts.actors import AGENT_ROLE, SYSTEM, Actor, ActorKind, Entry
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from nodes.contract.errors import Forbidden, HubError, Invalid, NotFound
from nodes.contract.ids import uuid_of

from ..models import Agent, Run
from ..queries import find_agent


class RunNotLive(Forbidden):
    code = "run_not_live"
    message = "This run is over, or not this node's: its token is good for nothing any more."


class OtherRun(Forbidden):
    code = "other_run"
    message = "Within a run you write into that run alone. Leave out --run-id."


@dataclass(frozen=True, slots=True)
class Acting:
    """An actor; and within a run of theirs, which one."""

    actor: Actor
    project_id: UUID | None
    run_id: UUID | None = None
    """What is written belongs to it."""
    apart: frozenset[UUID] = frozenset()
    """The actor's other live runs, whose mail is theirs."""


def acting_in_run(node_id: UUID, run_id: UUID) -> Acting:
    """The agent of a live run on this node. Raises ``RunNotLive``."""
    run = Run.objects.filter(pk=run_id, node=node_id, ended_at=None).select_related("agent__project").first()
    if run is None:
        raise RunNotLive(run=str(run_id))
    others = Run.objects.filter(agent=run.agent_id, ended_at=None).exclude(pk=run_id).order_by().values_list("pk")
    return Acting(actor_of_agent(run.agent), run.project_id, run.pk, frozenset(pk for (pk,) in others))


def run_to_write_in(by: Acting, wanted: UUID | None) -> UUID | None:
    """To which run that belongs which ``by`` writes: within a run to it, and to no other. Raises ``OtherRun``."""
    if by.run_id is not None and wanted not in (None, by.run_id):
        raise OtherRun(run=str(wanted))
    return wanted or by.run_id


def acting_as(actor_id: str) -> Acting:
    """Whoever an operator speaks for: an agent by id, ``project/name`` or name, or a user by id or name.

    Raises ``Invalid``, ``NotFound``, ``AmbiguousAgent``.
    """
    if not actor_id:
        raise Invalid("Say for whom: --actor-id ID.", fields={"actor_id": ["is missing"]})
    return Acting(*_find(actor_id.removeprefix("agent:")))


def _find(actor_id: str) -> tuple[Actor, UUID | None]:
    refusal: HubError
    try:
        agent = find_agent(SYSTEM, actor_id)
        return actor_of_agent(agent), agent.project_id
    except NotFound as error:
        refusal = error
    name = actor_id.removeprefix("user:")
    pk = uuid_of(name)
    active = User.objects.filter(is_active=True)
    user = (active.filter(pk=pk) if pk else active.filter(username=name)).first()
    if user is None:
        raise NotFound(f"There is no agent or user {actor_id[:80]!r}.", actor_id=actor_id[:80]) from refusal
    actor = actor_of(user, entry=Entry.CLI)
    return actor, actor.project_ids[0] if len(actor.roles) == 1 else None


def actor_of_agent(agent: Agent) -> Actor:
    """The agent as an actor, in its project and nowhere else."""
    label = f"{agent.project.slug}/{agent.name}"
    return Actor(ActorKind.AGENT, str(agent.pk), label, roles={agent.project_id: AGENT_ROLE}, entry=Entry.API)
