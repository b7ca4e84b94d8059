"""Hands queued runs to nodes as nodes come back and places become free, and says of the rest what it waits for."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber

from nodes.routes import tickets

from .models import Agent, Run
from .placement import Demand, NodeView, Wait, Waiting, fits, place
from .services.placing import Line, place_runs, say_why, view_nodes
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


_ASKED_FOR: Final = (
    "project__required_isolation", "project__required_network", "node", "pool", "node_labels", "runtime", "preset",
    "command", "isolation", "network",
)  # fmt: skip


def tick(now: datetime) -> int:
    """Place what can be placed, fairly; say of the rest what it waits for. Returns how many were placed.

    However many runs wait, and for however many nodes, it reads by nine queries, and of a line that no node has a
    place for only the oldest run. Two control planes may do this at once: ``place_runs`` looks again, under the locks.
    """
    said = _said()
    if not said:
        return 0
    agents = Agent.objects.select_related("project").only(*_ASKED_FOR).in_bulk({line.agent for line in said})
    demands = _demands(said, agents)
    nodes = view_nodes(now)
    free = min(_AT_ONCE, sum(node.free for node in nodes))
    able = _with_room(demands, nodes)
    heads = _heads(able, min(free, _READ_AT_ONCE // max(1, len(able))))
    waiting = [
        Waiting(run_id, agents[line.agent].project_id, demands[line])
        for run_id, line in heads.items()
        if line in demands
    ]
    decisions = place(waiting, nodes, served=_served(), limit=free)
    waits = {heads[run_id]: wait for run_id, wait in decisions.items() if isinstance(wait, Wait)}
    news = {line: wait for line, wait in waits.items() if said[line] != {(wait.reason, wait.message)}}
    say_why(dict(islice(news.items(), _ANSWERS_AT_ONCE)))
    chosen = [(run_id, node_id) for run_id, node_id in decisions.items() if isinstance(node_id, UUID)]
    return sum(place_runs(dict(part), now) for part in _parts(chosen))


def _said() -> dict[Line, set[tuple[str, str]]]:
    """The lines in which runs wait, and what those are said to wait for."""
    said: dict[Line, set[tuple[str, str]]] = defaultdict(set)
    queued = Run.objects.filter(state=State.QUEUED).order_by()
    for agent, user, entry, *why in queued.values_list("agent", "user", "entry", "reason", "message").distinct():
        said[Line(agent, user, entry)].add((why[0], why[1]))
    return said


def _demands(lines: Iterable[Line], agents: Mapping[UUID, Agent]) -> dict[Line, Demand]:
    """Where each line's runs may go: what the agent asks for, among what the routes allow whoever started them."""
    known = [line for line in lines if line.agent in agents]
    allowed = tickets((agents[line.agent].project_id, line.user, line.entry) for line in known)
    return {
        line: replace(agents[line.agent].demand, ticket=allowed[agents[line.agent].project_id, line.user, line.entry])
        for line in known
    }


def _with_room(demands: Mapping[Line, Demand], nodes: Sequence[NodeView]) -> list[Line]:
    """Lines of which at least one run could be placed now."""
    open_nodes = {node.id: node for node in nodes if node.free}
    has_room = {
        demand: any(fits(demand, node) for node in _named(demand, open_nodes)) for demand in set(demands.values())
    }
    return [line for line, demand in demands.items() if has_room[demand]]


def _named(demand: Demand, nodes: Mapping[UUID, NodeView]) -> Iterable[NodeView]:
    if demand.node is None:
        return nodes.values()
    return [nodes[demand.node]] if demand.node in nodes else []


def _heads(able: Collection[Line], most: int) -> dict[UUID, Line]:
    """The oldest queued run of each line, and up to ``most`` of those that are ``able`` to start some: run → line."""
    place_in_line = Window(RowNumber(), partition_by=[F("agent"), F("user"), F("entry")], order_by=F("pk").asc())
    queued = Run.objects.filter(state=State.QUEUED).order_by().annotate(place_in_line=place_in_line)
    wanted = Q(place_in_line=1) | Q(place_in_line__lte=most, agent__in={line.agent for line in able})
    rows = queued.filter(wanted).values_list("pk", "agent", "user", "entry")
    return {run: Line(agent, user, entry) for run, agent, user, entry in rows}


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
