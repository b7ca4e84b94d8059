"""Hands queued runs to nodes as nodes come back and places become free, and says of the rest what it waits for."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from .models import Agent, Run
from .placement import Wait, Waiting, place
from .services.placing import place_runs, say_why, view_nodes
from .states import State

_AT_ONCE: Final = 1_000
"""Runs placed in one tick at most; the next one goes on."""
_IN_ONE_GO: Final = 200
"""Runs placed in one transaction at most."""
_ANSWERS_AT_ONCE: Final = 200
"""Agents whose waiting runs are told something new in one tick, at most."""
_REMEMBERED: Final = 1_000
"""So many places that were given away are looked at to see which project was served longest ago."""


def tick(now: datetime) -> int:
    """Place what can be placed, fairly; say of the rest what it waits for. Returns how many were placed.

    However many runs wait, and for however many nodes, it reads by six queries and no more than ``_AT_ONCE`` runs
    of an agent. Two control planes may do this at once: ``place_runs`` looks again, under the nodes' locks.
    """
    said = _said_of_agents()
    if not said:
        return 0
    agents = Agent.objects.only("project", "node", "pool", "node_labels", "runtime", "preset", "command").in_bulk(said)
    nodes = view_nodes(now)
    free = min(_AT_ONCE, sum(node.free for node in nodes))
    heads = _heads(max(1, free))
    waiting = [
        Waiting(run_id, agents[agent_id].project_id, agents[agent_id].demand)
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


def _heads(most: int) -> dict[UUID, UUID]:
    """The oldest queued runs of each agent, ``most`` of one at most, as run → agent."""
    place_in_line = Window(RowNumber(), partition_by=F("agent"), order_by=F("pk").asc())
    queued = Run.objects.filter(state=State.QUEUED).order_by().annotate(place_in_line=place_in_line)
    return dict(queued.filter(place_in_line__lte=most).values_list("pk", "agent"))


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
