"""Which isolation a run has at the least, and whether a node can give it."""

from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import models

from nodes.contract.errors import Conflict
from nodes.contract.isolation import Isolation, narrowest, strongest
from nodes.contract.isolation import Network as NetworkName
from nodes.models import Node

if TYPE_CHECKING:
    from .models import Agent

NONE: Final = frozenset({"none"})


class Level(models.TextChoices):
    NONE = "none", "None: what the node's user can do, it can"
    MASKED = "masked", "Masked: the hub's files, other runs and home directories are out of reach"
    USER = "user", "Another OS user"


class Network(models.TextChoices):
    SHARED = "shared", "The node's"
    NONE = "none", "None"


class IsolationUnavailable(Conflict):
    """A node cannot isolate runs as the agent, its project or the hub demands."""

    code, grpc = "isolation_unavailable", "FAILED_PRECONDITION"


def demanded_network(agent: "Agent") -> NetworkName:
    """By the agent itself, its project, and the hub's settings: the least counts."""
    return narrowest(agent.network, agent.project.required_network, settings.CONFIG.isolation.network)


def demanded_of(agent: "Agent") -> Isolation:
    """By the agent itself, its project, and the hub's settings: the most counts. No network demands ``masked``."""
    demands = agent.isolation, agent.project.required_isolation, settings.CONFIG.isolation.minimum
    return strongest(*demands, _demanded_by(demanded_network(agent)))


def _demanded_by(network: str) -> Isolation:
    """Only what is masked can be kept from the network."""
    return "none" if network == "shared" else "masked"


def given_by(node: Node) -> frozenset[str]:
    """Levels that the node says it can give; an older one says nothing, and gives none."""
    return NONE | frozenset(node.facts.get("isolations", ()))


def require_isolation(agent: "Agent") -> None:
    """``IsolationUnavailable`` if the agent is bound to a node that cannot give what is demanded of its runs.

    A node that has never said what it can is not refused; its runs wait until it does.
    """
    node = agent.node
    if node is None or not node.facts:
        return
    level, network = demanded_of(agent), demanded_network(agent)
    if level not in given_by(node):
        what = f"isolation {level!r}{' and no network' if network == 'none' else ''}"
        own = strongest(agent.isolation, _demanded_by(agent.network)), agent.network
        why = "" if (level, network) == own else " as its project or the hub demands"
        raise IsolationUnavailable(
            f"The node {node.slug} cannot run {agent.name} with {what}{why}. Run `agenthub doctor` on it: "
            "it says what is missing; or choose another node.",
            isolation=level,
            network=network,
            node=node.slug,
        )
