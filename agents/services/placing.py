"""Hands queued runs to nodes: what ``placement`` decides is held against the locked rows, then written in bulk."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, Q, Value, When
from pydantic import ValidationError

from agenthub_site.accounts.actors import SYSTEM
from audit.services import Fact, record_all
from nodes import outbox
from nodes.contract.commands import RuntimeSpec, StartRun, Workspace
from nodes.contract.errors import Invalid
from nodes.contract.events import RunFailed
from nodes.contract.reasons import Reason
from nodes.evidence import why_closed
from nodes.models import Node
from nodes.queries import registered_nodes
from nodes.routes import tickets
from nodes.routing import Ticket

from ..isolation import demanded_network, demanded_of, given_by
from ..models import Agent, Run
from ..placement import NodeView, Wait, Waiting, fits, place
from ..queries import live_runs_of_nodes
from ..states import State
from .compiling import Terms, terms_of
from .events import append_event
from .left_off import LeftOff, left_off
from .moves import lock_run, move_run
from .policies import share_policy

_MOST_DEMANDS: Final = 1_000
_LOOKED_AT: Final = (
    "slug", "pool", "labels", "capacity", "facts", "runtimes", "is_enabled", "is_cordoned", "is_draining",
    "revoked_at", "last_heard_at", "measured", "vitals", "duplicate_at",
)  # fmt: skip


def view_nodes(now: datetime) -> list[NodeView]:
    """Every registered node as placing sees it. Two queries."""
    nodes = list(registered_nodes().only(*_LOOKED_AT).order_by())
    live = live_runs_of_nodes()
    return [_view(node, live.get(node.pk, {}), now) for node in nodes]


def agents_without_nodes(since: datetime) -> list[UUID]:
    """Agents that are bound to no node, and have runs from before ``since`` that no node could have taken since then.

    A node counts as long as it is enabled and was heard since, or was removed since.
    """
    old = Run.objects.filter(state=State.QUEUED, agent=OuterRef("pk"), node=None, created_at__lte=since)
    waiting = list(Agent.objects.filter(Exists(old), node=None).select_related("project")[:_MOST_DEMANDS])
    if not waiting:
        return []
    there = Node.objects.filter(Q(is_enabled=True, last_heard_at__gt=since) | Q(removed_at__gt=since))
    views = [_view(node, {}, since) for node in there.only(*_LOOKED_AT)]
    return [
        agent.pk
        for agent in waiting
        if not any(fits(replace(agent.demand, preset="", isolation="none"), view) for view in views)
    ]


def lock_node(node_id: UUID) -> Node:
    """The node, while its places are counted and given away.

    To be locked before any run and before the trail. Not against foreign keys (``no_key``): whoever
    queues a command for the node holds the trail by then.
    """
    return Node.objects.select_for_update(no_key=True).get(pk=node_id)


def find_place(agent: Agent, run_id: UUID, now: datetime, ticket: Ticket) -> Node | Wait:
    """A node for a new run, locked, with a place that nobody else waits for; or why the run has to wait."""
    new = Waiting(run_id, agent.project_id, replace(agent.demand, ticket=ticket))
    node_id = agent.node_id
    if node_id is None:
        decision = place([new], view_nodes(now))[run_id]
        if isinstance(decision, Wait):
            return decision
        node_id = decision
    node = lock_node(node_id)
    view = _view(node, live_runs_of_nodes([node_id]).get(node_id, {}), now)
    decision = place([new], [view])[run_id]
    if isinstance(decision, Wait):
        return decision
    return Wait(Reason.QUEUED) if _is_waited_for(view) else node


def place_runs(chosen: Mapping[UUID, UUID], now: datetime) -> int:
    """Hand runs (id → node) to their nodes, with a StartRun command for each. Returns how many went.

    A run that is not queued any more, or that may not go there any more, and one that has lost its place since it was
    chosen, stays as it is. One that no node could be asked to start ends, by itself. The nodes are locked, in the
    order of their ids.
    """
    with transaction.atomic():
        placed, unfit = _place_locked(chosen, now)
    for run_id, problem in unfit.items():
        _refuse(run_id, problem)
    return placed


def _place_locked(chosen: Mapping[UUID, UUID], now: datetime) -> tuple[int, dict[UUID, str]]:
    """How many were placed, and what is wrong with those that never can be."""
    share_policy()
    locked = Node.objects.select_for_update(no_key=True).filter(pk__in=set(chosen.values())).order_by("pk")
    nodes = list(locked)
    live = live_runs_of_nodes(node.pk for node in nodes)
    by_id = {node.pk: node for node in nodes}
    views = {node.pk: _view(node, live.get(node.pk, {}), now) for node in nodes}
    taken: Counter[UUID] = Counter()
    placed: list[tuple[Run, StartRun]] = []
    unfit: dict[UUID, str] = {}
    queued = _lock_queued(chosen)
    allowed = tickets((run.project_id, run.user_id, run.entry) for run in queued)
    terms = terms_of(run.agent for run in queued)
    earlier = left_off(queued)
    for run in queued:
        view = views.get(chosen[run.pk])
        demand = replace(run.agent.demand, ticket=allowed[run.project_id, run.user_id, run.entry])
        if view is None or taken[view.id] >= view.free or not fits(demand, view):
            continue
        try:
            command = start_command(run, by_id[view.id], terms[run.agent_id], earlier.get(run.pk))
        except Invalid as error:
            unfit[run.pk] = error.text
            continue
        run.node_id = view.id
        taken[view.id] += 1
        placed.append((run, command))
    hand_over(placed, now)
    return len(placed), unfit


@transaction.atomic
def _refuse(run_id: UUID, problem: str) -> None:
    """End a queued run that no node could be asked to start. In a transaction of its own, as trails have an order."""
    run = lock_run(run_id)
    if run.state == State.QUEUED and move_run(run, State.FAILED, by=SYSTEM, reason=Reason.REFUSED, message=problem):
        append_event(run, RunFailed(reason=Reason.REFUSED, message=problem))


def hand_over(started: Sequence[tuple[Run, StartRun]], now: datetime) -> None:
    """Move queued runs to *starting*, each on its ``node_id``. In a transaction that has locked nodes and runs."""
    if not started:
        return
    runs = [run for run, _ in started]
    where = Case(*(When(pk=run.pk, then=Value(run.node_id)) for run in runs), output_field=Run._meta.pk)
    columns = {"state": State.STARTING, "reason": Reason.STARTING, "message": "", "placed_at": now}
    Run.objects.filter(pk__in=[run.pk for run in runs], state=State.QUEUED).update(node=where, **columns)
    for run in runs:
        for name, value in columns.items():
            setattr(run, name, value)
    outbox.queue_first_commands((run.placed_node_id, run.pk, command) for run, command in started)
    record_all(
        [
            Fact(run.project_id, "run.starting", of=("run", run.pk), run=run.pk, node=run.node_id, data=_WHY)
            for run in runs
        ],
        by=SYSTEM,
    )


_WHY: Final = {"reason": Reason.STARTING.value}


class Line(NamedTuple):
    """Queued runs that may go to the same nodes: of one agent, by one person, come by one entry."""

    agent: UUID
    user: UUID | None
    entry: str


def say_why(waits: Mapping[Line, Wait]) -> None:
    """Write down what the queued runs of each line wait for. One statement for each different answer."""
    lines: dict[Wait, list[Line]] = defaultdict(list)
    for line, wait in waits.items():
        lines[wait].append(line)
    for wait, told in lines.items():
        whose = reduce(or_, (Q(agent=line.agent, user=line.user, entry=line.entry) for line in told))
        queued = Run.objects.filter(whose, state=State.QUEUED)
        queued.exclude(reason=wait.reason, message=wait.message).update(reason=wait.reason, message=wait.message)


def follow_agent(agent: Agent) -> int:
    """Its queued runs wait where it runs now. Those that were handed to a node stay there. Returns how many moved."""
    queued = Run.objects.filter(agent=agent, state=State.QUEUED)
    return queued.update(node=agent.node_id, reason=Reason.QUEUED, message="")


def _lock_queued(ids: Collection[UUID]) -> list[Run]:
    """Oldest first. One that is being cancelled at this moment is left for the next look."""
    can_skip = bool(transaction.get_connection().features.has_select_for_update_skip_locked)
    queued = (
        Run.objects.filter(pk__in=ids, state=State.QUEUED).select_related("agent__project", "project").order_by("pk")
    )
    return list(queued.select_for_update(of=("self",), no_key=True, skip_locked=can_skip))


def _is_waited_for(view: NodeView) -> bool:
    """Whether a queued run may use the node: it comes first, and the scheduler sees to it."""
    queued = Run.objects.filter(state=State.QUEUED, ended_at=None).exclude(reason=Reason.ROUTE_MISSING)
    if queued.filter(node=view.id).exists():
        return True
    unbound = Agent.objects.filter(Exists(queued.filter(agent=OuterRef("pk"), node=None)), node=None)
    waiting = unbound.select_related("project")
    return any(fits(agent.demand, view) for agent in waiting.filter(pool__in=("", view.pool))[:_MOST_DEMANDS])


def _view(node: Node, live: Mapping[UUID, int], now: datetime) -> NodeView:
    return NodeView(
        id=node.pk,
        name=node.slug,
        capacity=min(node.capacity, node.facts.get("capacity") or node.capacity),  # ours, and what it says of itself
        pool=node.pool,
        labels=frozenset(node.labels.items()),
        closed=why_closed(node, now),
        ready=frozenset(told["preset"] for told in node.runtimes if told["found"] and told["logged_in"])
        if node.runtimes
        else None,
        isolations=given_by(node),
        live=live,
    )


def start_command(run: Run, node: Node | None, terms: Terms, earlier: LeftOff | None) -> StartRun:
    """What ``node`` is told to start. ``Invalid`` if the agent is set up in a way that no node takes.

    ``earlier``: where the run that this one resumes left off. On another node there is nothing left of it.
    """
    try:
        command = _start_command(run, node, terms)
        if earlier is None or node is None or earlier.node != node.pk:
            return command
        went_on = {"prompt": earlier.prompt_for(run), "workspace": earlier.workspace_for(command.workspace)}
        return command.model_copy(update={"session": earlier.session, **went_on})
    except ValidationError as error:
        problems = {".".join(map(str, each["loc"])): [each["msg"]] for each in error.errors(include_input=False)}
        said = "; ".join(f"{name}: {words[0]}" for name, words in problems.items())
        raise Invalid(f"The agent {run.agent.name} cannot be started: {said}.", fields=problems) from error


def _start_command(run: Run, node: Node | None, terms: Terms) -> StartRun:
    agent = run.agent
    return StartRun(
        run=str(run.pk),
        project=str(run.project_id),
        project_slug=run.project.slug,
        agent=str(agent.pk),
        agent_name=agent.name,
        user=str(run.user_id or ""),
        runtime=RuntimeSpec(
            kind="acp" if agent.runtime == Agent.Runtime.ACP else "command",
            preset=agent.preset,
            command=agent.command,
            model=agent.model,
            environment=agent.environment,
        ),
        workspace=Workspace.model_validate(
            {
                "mode": agent.workspace_mode,
                "workdir": agent.workdir,
                "repository": agent.worktree_repo,
                "ref": agent.worktree_ref or "HEAD",
                "worktree_root": "" if node is None or node.is_local else node.default_worktree_root,
            }
        ),
        isolation=demanded_of(agent),
        network=demanded_network(agent),
        prompt=run.prompt,
        input_id=str(run.pk),
        keep_open=run.keep_open,
        policy=terms.policy,
        approval_seconds=terms.review.expires_seconds,
        turn_seconds=agent.turn_seconds,
        mcp=agent.mcp,
        stop_after_seconds=agent.stop_after_seconds,
    )
