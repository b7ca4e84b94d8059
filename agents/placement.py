"""Where waiting runs go: a pure function from runs and nodes to places, or to the words for why there is none yet.

A place goes to the project that has the fewest live runs on the nodes its run may use, then to the one served longest
ago, then to the oldest run; within a project to its oldest run that may use the place. Of the nodes that fit, the one
with the smallest share of its capacity in use takes the run. A run that names a node waits for that one alone.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Final
from uuid import UUID

from nodes.contract.reasons import Reason
from nodes.health import NodeState
from nodes.routing import Ticket

MESSAGE_CHARS: Final = 500
_NAMED: Final = 3
"""So many nodes are named one by one; more are counted."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Where a run may go: to one ``node``, or to any in the ``pool`` that has the ``labels`` and the runtime."""

    node: UUID | None = None
    pool: str = ""
    labels: frozenset[tuple[str, str]] = frozenset()
    preset: str = ""
    """The runtime's preset, if the node has to bring it. Not looked at where a node is named: that one says so."""
    ticket: Ticket | None = None
    """Which of them whoever started the run may use; None if that is not asked."""
    isolation: str = "none"

    def __str__(self) -> str:
        """``pool gpu with arch=arm64``, for a demand that names no node."""
        labels = " and ".join(f"{name}={value}" for name, value in sorted(self.labels))
        with_labels = f"with {labels}" if labels else ""
        return " ".join(part for part in (f"of pool {self.pool}" if self.pool else "", with_labels) if part)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued run. Ids sort by the time they were made, so the smallest is the oldest."""

    run: UUID
    project: UUID
    demand: Demand


@dataclass(frozen=True, slots=True)
class NodeView:
    """What placing needs to know of a node. ``live`` counts the runs it has, by project."""

    id: UUID
    name: str
    capacity: int
    pool: str = ""
    labels: frozenset[tuple[str, str]] = frozenset()
    closed: NodeState | None = None
    """Why it takes no runs, however many places it has."""
    ready: frozenset[str] | None = None
    """Presets that the node says are installed and signed in; None of one that has said nothing of any."""
    isolations: frozenset[str] = frozenset({"none"})
    """What it can give."""
    live: Mapping[UUID, int] = field(default_factory=dict)

    @property
    def free(self) -> int:
        """Places that may be given away."""
        return 0 if self.closed else max(0, self.capacity - sum(self.live.values()))


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a run stays queued: a reason for programs, and what exactly is missing, for people."""

    reason: Reason
    message: str = ""


def fits(demand: Demand, node: NodeView) -> bool:
    """Whether the run may go to this node at all, full or not."""
    return _would_fit(demand, node) and may_go(demand, node) and demand.isolation in node.isolations


def may_go(demand: Demand, node: NodeView) -> bool:
    """Whether a route leads there."""
    ticket = demand.ticket
    return ticket is None or ticket.allows(node.id, node.name, node.pool, node.labels)


def _would_fit(demand: Demand, node: NodeView) -> bool:
    if demand.node is not None:
        return demand.node == node.id
    return _is_of(demand, node) and (not demand.preset or node.ready is None or demand.preset in node.ready)


def place(
    waiting: Iterable[Waiting], nodes: Iterable[NodeView], *, served: Mapping[UUID, float] | None = None,
    limit: int | None = None,
) -> dict[UUID, UUID | Wait]:  # fmt: skip
    """For each run the node it goes to, or why it waits. The order of the arguments makes no difference.

    ``served`` says when each project last got a place; at most ``limit`` places are given away, and those who come
    after wait for their turn.
    """
    plan = _Plan(sorted(waiting, key=lambda run: run.run), sorted(nodes, key=lambda node: node.name), served or {})
    while (limit is None or len(plan.placed) < limit) and plan.place_next():
        pass
    return plan.decisions()


class _Site:
    """A node as it fills up."""

    def __init__(self, view: NodeView) -> None:
        self.view = view
        self.taken = sum(view.live.values())
        self.free = view.free

    @property
    def order(self) -> tuple[float, str]:
        """The share of its places that would be in use with one more run."""
        return (self.taken + 1) / self.view.capacity, self.view.name

    def take(self) -> None:
        self.taken += 1
        self.free -= 1


class _Group:
    """The nodes that one demand may use."""

    def __init__(self, demand: Demand, sites: Sequence[_Site]) -> None:
        self.demand = demand
        self.sites = [site for site in sites if fits(demand, site.view)]
        self.ids = {site.view.id for site in self.sites}
        self._everywhere = sites
        self._open = [(*site.order, site) for site in self.sites if site.free > 0]
        heapq.heapify(self._open)

    def best(self) -> _Site | None:
        """The node that is least in use, if one has a place. Nodes only fill up, so an old entry is never too large."""
        while self._open:
            share, name, site = self._open[0]
            if site.free <= 0:
                heapq.heappop(self._open)
            elif site.order != (share, name):
                heapq.heapreplace(self._open, (*site.order, site))
            else:
                return site
        return None

    @cached_property
    def wait(self) -> Wait:
        """Why no place is left, once none is."""
        views = [site.view for site in self.sites]
        reason, message = _why_no_place(self.demand, views) if views else _why_none_fits(self.demand, self._everywhere)
        return Wait(reason, message[:MESSAGE_CHARS])


class _Queue:
    """A project's waiting runs of one demand, oldest first."""

    def __init__(self, project: UUID, group: _Group) -> None:
        self.project = project
        self.group = group
        self.runs = deque[UUID]()
        self.live = sum(site.view.live.get(project, 0) for site in group.sites)


_Turn = tuple[int, float]
_Key = tuple[int, _Turn, UUID]


class _Plan:
    """Gives places away one by one. What orders the queues only grows, so the heap's old entries are put right late."""

    def __init__(self, waiting: Sequence[Waiting], nodes: Sequence[NodeView], served: Mapping[UUID, float]) -> None:
        sites = [_Site(view) for view in nodes]
        groups = {demand: _Group(demand, sites) for demand in dict.fromkeys(run.demand for run in waiting)}
        self.placed: dict[UUID, UUID] = {}
        self._waiting = waiting
        self._groups = groups
        self._turns: dict[UUID, _Turn] = {project: (0, at) for project, at in served.items()}
        self._turn = count()
        self._queues: dict[UUID, dict[Demand, _Queue]] = {}
        for run in waiting:
            mine = self._queues.setdefault(run.project, {})
            queue = mine.get(run.demand) or mine.setdefault(run.demand, _Queue(run.project, groups[run.demand]))
            queue.runs.append(run.run)
        self._heap = [(self._key(queue), queue) for mine in self._queues.values() for queue in mine.values()]
        heapq.heapify(self._heap)

    def place_next(self) -> bool:
        """Give one place away; False once nobody who waits can have one."""
        while self._heap:
            key, queue = self._heap[0]
            site = queue.group.best() if queue.runs else None
            if site is None:
                heapq.heappop(self._heap)
            elif (now := self._key(queue)) != key:
                heapq.heapreplace(self._heap, (now, queue))
            else:
                self._give(site, queue.project)
                return True
        return False

    def decisions(self) -> dict[UUID, UUID | Wait]:
        turn = Wait(Reason.QUEUED)
        waits = {demand: turn if group.best() else group.wait for demand, group in self._groups.items()}
        return {run.run: self.placed.get(run.run) or waits[run.demand] for run in self._waiting}

    def _key(self, queue: _Queue) -> _Key:
        return queue.live, self._turns.get(queue.project, (-1, 0.0)), queue.runs[0]

    def _give(self, site: _Site, project: UUID) -> None:
        """To the oldest of the project's runs that may use it."""
        able = [queue for queue in self._queues[project].values() if queue.runs and site.view.id in queue.group.ids]
        oldest = min(able, key=lambda queue: queue.runs[0])
        self.placed[oldest.runs.popleft()] = site.view.id
        site.take()
        self._turns[project] = (1, next(self._turn))
        for queue in able:
            queue.live += 1


# Words.


def _is_of(demand: Demand, node: NodeView) -> bool:
    return demand.pool in ("", node.pool) and demand.labels <= node.labels


def _why_none_fits(demand: Demand, sites: Sequence[_Site]) -> tuple[Reason, str]:
    views = [site.view for site in sites]
    if able := [view for view in views if _would_fit(demand, view)]:
        where = able[0].name if demand.node is not None else f"any of {len(able)} nodes {demand}"
        if not any(may_go(demand, view) for view in able):
            return Reason.ROUTE_MISSING, f"none lets {demand.ticket.who if demand.ticket else 'it'} use {where}"
        return Reason.ISOLATION_UNAVAILABLE, f"isolation {demand.isolation} is not to be had on {where}"
    if demand.node is not None:
        return Reason.NODE_OFFLINE, "it is no longer registered"
    if any(_is_of(demand, view) for view in views):
        return Reason.NO_MATCHING_NODE, f"no node {demand} has {demand.preset} installed and signed in"
    in_pool = [view for view in views if demand.pool in ("", view.pool)]
    if not in_pool:
        return Reason.NO_MATCHING_NODE, f"no node is in pool {demand.pool}" if demand.pool else "there is no node"
    missing = {label for label in demand.labels if not any(label in view.labels for view in in_pool)}
    texts = [f"{name}={value}" for name, value in sorted(missing or demand.labels)]
    of_pool = f" of pool {demand.pool}" if demand.pool else ""
    together = "" if missing or len(texts) == 1 else " together"
    return (
        Reason.NO_MATCHING_NODE,
        f"no node{of_pool} has label{'s' * (len(texts) > 1)} {' and '.join(texts)}{together}",
    )


def _why_no_place(demand: Demand, views: Sequence[NodeView]) -> tuple[Reason, str]:
    """All that fit are full or closed. What it waits for is a full one that works, else one that may open."""
    conditions = Counter(_condition(view) for view in views)
    if "full" in conditions:
        reason = Reason.CAPACITY
    elif conditions.keys() & {NodeState.CORDONED, NodeState.DRAINING}:
        reason = Reason.NODE_CORDONED
    else:
        reason = Reason.NODE_OFFLINE
    if len(views) == 1 or (len(views) <= _NAMED and len(conditions) > 1):
        return reason, ", ".join(f"{view.name} is {_condition(view)}" for view in views)
    if len(conditions) == 1:
        return reason, f"all {len(views)} nodes {demand} are {_condition(views[0])}"
    parts = ", ".join(f"{number} {'is' if number == 1 else 'are'} {how}" for how, number in sorted(conditions.items()))
    return reason, f"of {len(views)} nodes {demand} {parts}"


def _condition(view: NodeView) -> str:
    """For those who wait, one that was never heard is offline like any other."""
    return NodeState.OFFLINE if view.closed == NodeState.UNKNOWN else view.closed or "full"
