"""Whether a project's agents, and whoever starts their runs, may use the nodes that they name."""

from agenthub_site.accounts.actors import Actor
from nodes.queries import registered_nodes
from nodes.routes import RouteMissing, asker_of, may_use, read_routes, route_missing
from nodes.routing import Ticket

from ..models import Agent


def ticket_of(agent: Agent, by: Actor | None = None) -> Ticket:
    """What ``by`` may use for the agent's project; without it, what anybody may. One query."""
    asker = asker_of(by, agent.project_id) if by else None
    return read_routes([agent.project_id]).ticket(agent.project_id, asker)


def require_route(agent: Agent) -> None:
    """Raise ``RouteMissing`` if there are nodes where the agent could run, and its project may use none of them."""
    if not leads_somewhere(agent, ticket_of(agent)):
        raise missing_route(agent)


def leads_somewhere(agent: Agent, ticket: Ticket) -> bool:
    """Whether at least one of the nodes that the agent names is allowed; true as well while there is none at all."""
    if agent.node is not None:
        return may_use(ticket, agent.node)
    wanted = agent.demand.labels
    in_pool = registered_nodes().filter(**({"pool": agent.pool} if agent.pool else {})).only("slug", "pool", "labels")
    fitting = [node for node in in_pool if wanted <= frozenset(node.labels.items())]
    return not fitting or any(may_use(ticket, node) for node in fitting)


def missing_route(agent: Agent, by: Actor | None = None) -> RouteMissing:
    """Said of ``by`` only where others of the project have a way there."""
    asker = asker_of(by, agent.project_id) if by else None
    if asker and not leads_somewhere(agent, ticket_of(agent)):
        asker = None
    return route_missing(
        agent.project, node=agent.node.slug if agent.node else "", pool=agent.pool, labels=agent.node_labels,
        asker=asker, who=by.label if by and asker else "",
    )  # fmt: skip
