"""Hands queued runs to nodes as nodes come back and places become free, and says of the rest what it waits for."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber

from .models import Agent, Run
from .placement import Demand, NodeView, Wait, Waiting, fits, place
from .services.placing import place_runs, say_why, view_nodes
from .states import State

_AT_ONCE: Final = 1_000
"""Runs placed in one tick at most; the next one goes on."""
_READ_AT_ONCE: Final = 10_000
"""Queued runs that are read in one tick at most, beside one of each agent."""
_IN_ONE_GO: Final = 200
"""Runs placed in one transaction at most."""
_ANSWERS_AT_ONCE: Final = 200
"""Agents whose waiting runs are told something new in one tick, at most."""
_REMEMBERED: Final = 1_000
"""So many places that were given away are looked at to see which project was served longest ago."""


def tick(now: datetime) -> int:
    """Place what can be placed, fairly; say of the rest what it waits for. Returns how many were placed.

    However many runs wait, and for however many nodes, it reads by six queries, and of an agent that no node has a
    place for only the oldest run. Two control planes may do this at once: ``place_runs`` looks again, under the locks.
    """
    said = _said_of_agents()
    if not said:
        return 0
    agents = Agent.objects.only("project", "node", "pool", "node_labels", "runtime", "preset", "command").in_bulk(said)
    demands = {agent_id: agent.demand for agent_id, agent in agents.items()}
    nodes = view_nodes(now)
    free = min(_AT_ONCE, sum(node.free for node in nodes))
    able = _with_room(demands, nodes)
    heads = _heads(able, min(free, _READ_AT_ONCE // max(1, len(able))))
    waiting = [
        Waiting(run_id, agents[agent_id].project_id, demands[agent_id])
        for run_id, agent_id in heads.items()
        if agent_id in agents
    ]
    decisions = place(waiting, nodes, served=_served(), limit=free)
    waits = {heads[run_id]: wait for run_id, wait in decisions.items() if isinstance(wait, Wait)}
    news = {agent: wait for agent, wait in waits.items() if said[agent] != {(wait.reason, wait.message)}}
    say_why(dict(islice(news.items(), _ANSWERS_AT_ONCE)))
    chosen = [(run_id, node_id) for run_id, node_id in decisions.items() if isinstance(node_id, UUID)]
    return sum(place_runs(dict(part), now) for part in _parts(chosen))


def _said_of_agents() -> dict[UUID, set[tuple[str, str]]]:
    """Agents with queued runs, and what those are said to wait for."""
    said: dict[UUID, set[tuple[str, str]]] = defaultdict(set)
    queued = Run.objects.filter(state=State.QUEUED).order_by()
    for agent_id, reason, message in queued.values_list("agent", "reason", "message").distinct():
        said[agent_id].add((reason, message))
    return said


def _with_room(demands: Mapping[UUID, Demand], nodes: Sequence[NodeView]) -> list[UUID]:
    """Agents of which at least one run could be placed now."""
    open_nodes = {node.id: node for node in nodes if node.free}
    by_demand = {
        demand: demand.node in open_nodes if demand.node else any(fits(demand, node) for node in open_nodes.values())
        for demand in set(demands.values())
    }
    return [agent_id for agent_id, demand in demands.items() if by_demand[demand]]


def _heads(able: Collection[UUID], most: int) -> dict[UUID, UUID]:
    """The oldest queued run of each agent, and up to ``most`` of those that are ``able`` to start some: run → agent."""
    place_in_line = Window(RowNumber(), partition_by=F("agent"), order_by=F("pk").asc())
    queued = Run.objects.filter(state=State.QUEUED).order_by().annotate(place_in_line=place_in_line)
    wanted = Q(place_in_line=1) | Q(place_in_line__lte=most, agent__in=able)
    return dict(queued.filter(wanted).values_list("pk", "agent"))


def _served() -> dict[UUID, float]:
    """When each project got its last place, of the last places that were given away."""
    last = Run.objects.filter(placed_at__isnull=False).order_by("-placed_at").values_list("project", "placed_at")
    served: dict[UUID, float] = {}
    for project_id, at in last[:_REMEMBERED]:
        if at is not None:
            served.setdefault(project_id, at.timestamp())
    return served


def _parts(chosen: Iterable[tuple[UUID, UUID]]) -> Iterable[list[tuple[UUID, UUID]]]:
    left = iter(chosen)
    while part := list(islice(left, _IN_ONE_GO)):
        yield part
