"""Who may do what: one table from capability to roles, and ``require``, the first line of every service."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from nodes.contract.errors import Forbidden, NotFound

from .actors import AGENT_ROLE, Actor
from .errors import OutOfScope
from .models import Role


class Can(StrEnum):
    """Capabilities, ``noun:verb``, alphabetical."""

    ANSWER_APPROVAL = "approval:answer"
    CANCEL_RUN = "run:cancel"
    CREATE_AGENT = "agent:create"
    CREATE_PROJECT = "project:create"
    CREATE_TASK = "task:create"
    DECIDE_ROUND = "round:decide"
    EDIT_AGENT = "agent:edit"
    EDIT_BUDGET = "budget:edit"
    EDIT_LIMITS = "limits:edit"
    EDIT_POLICY = "policy:edit"
    EDIT_PROJECT = "project:edit"
    MANAGE_MEMBERS = "member:manage"
    MANAGE_MESSAGES = "message:manage"
    MANAGE_NODES = "node:manage"
    MANAGE_ROUTES = "route:manage"
    MANAGE_SECRETS = "secret:manage"
    MANAGE_TEAMS = "team:manage"
    MANAGE_TOKENS = "token:manage"
    MANAGE_USERS = "user:manage"
    MANAGE_WEBHOOKS = "webhook:manage"
    READ_MESSAGES = "message:read"
    SEND_INPUT = "run:input"
    SEND_MESSAGE = "message:send"
    SET_PRICES = "price:set"
    START_RUN = "run:start"
    USE_HUB_TOOLS = "hub:tools"
    VIEW = "project:view"
    VIEW_AUDIT = "audit:view"
    VIEW_USAGE = "usage:view"
    WORK_ON_TASK = "task:work"


@dataclass(frozen=True, slots=True)
class Grant:
    """One row of the table: what the capability is in words, and the roles that have it in their project."""

    means: str
    roles: frozenset[str]


ROLES: Final = (Role.VIEWER, Role.REVIEWER, Role.DEVELOPER, Role.MAINTAINER, Role.OWNER)
"""The roles of people and service accounts, from the least to the most."""


def _from(least: Role, *others: str) -> frozenset[str]:
    """``least`` and every role above it."""
    return frozenset((*ROLES[ROLES.index(least) :], *others))


_ROOT_ONLY: Final[frozenset[str]] = frozenset()

TABLE: Final[dict[Can, Grant]] = {
    Can.VIEW: Grant(
        "See the project: its members, agents, runs, approvals and artifacts", _from(Role.VIEWER, AGENT_ROLE)
    ),
    Can.VIEW_USAGE: Grant("See what the project's runs used and cost", _from(Role.VIEWER)),
    Can.ANSWER_APPROVAL: Grant(
        "Answer what a run asks (an agent: only what is offered to it, never for a run of its own)",
        _from(Role.REVIEWER, AGENT_ROLE),
    ),
    Can.READ_MESSAGES: Grant("Receive and acknowledge messages to oneself", _from(Role.VIEWER, AGENT_ROLE)),
    Can.SEND_MESSAGE: Grant("Write to the project's agents and people", _from(Role.REVIEWER, AGENT_ROLE)),
    Can.START_RUN: Grant("Start a run: that is executing code on the agent's node", _from(Role.DEVELOPER)),
    Can.SEND_INPUT: Grant("Speak to a run, and interrupt its turn", _from(Role.DEVELOPER)),
    Can.CANCEL_RUN: Grant("Stop a run", _from(Role.DEVELOPER)),
    Can.CREATE_TASK: Grant("Begin a task, for an agent to plan", _from(Role.DEVELOPER, AGENT_ROLE)),
    Can.DECIDE_ROUND: Grant(
        "Approve and reject agents' plans, and close tasks: an approved plan is carried out", _from(Role.DEVELOPER)
    ),
    Can.WORK_ON_TASK: Grant(
        "Plan, claim, hand over and review work, and hold locks: agents only", frozenset({AGENT_ROLE})
    ),
    Can.USE_HUB_TOOLS: Grant(
        "Work the hub by MCP's tools; each asks for its own capability besides, and the token must say so",
        _from(Role.VIEWER, AGENT_ROLE),
    ),
    Can.VIEW_AUDIT: Grant("Read the project's audit trail, with the addresses of who acted", _from(Role.MAINTAINER)),
    Can.CREATE_AGENT: Grant("Create an agent", _from(Role.MAINTAINER)),
    Can.EDIT_AGENT: Grant("Change, archive and bring back an agent", _from(Role.MAINTAINER)),
    Can.MANAGE_TOKENS: Grant("Make and revoke tokens that speak for an agent", _from(Role.MAINTAINER)),
    Can.MANAGE_MESSAGES: Grant(
        "See what became of the project's messages, and have dead ones delivered again", _from(Role.MAINTAINER)
    ),
    Can.MANAGE_TEAMS: Grant("Make and delete the project's teams, and say who is in them", _from(Role.MAINTAINER)),
    Can.MANAGE_WEBHOOKS: Grant(
        "Set the addresses outside to which the project's messages may be posted", _from(Role.MAINTAINER)
    ),
    Can.EDIT_POLICY: Grant("Change the approval policy of the project and its agents", _from(Role.MAINTAINER)),
    Can.EDIT_LIMITS: Grant("Set the limits on agents' rounds, assignments and messages", _from(Role.MAINTAINER)),
    Can.EDIT_PROJECT: Grant("Change the project's name and description", _from(Role.MAINTAINER)),
    Can.EDIT_BUDGET: Grant("Set the project's budgets", _from(Role.OWNER)),
    Can.MANAGE_MEMBERS: Grant(
        "Add, invite and remove members; make service accounts and their tokens", _from(Role.OWNER)
    ),
    Can.CREATE_PROJECT: Grant("Create a project", _ROOT_ONLY),
    Can.MANAGE_NODES: Grant("Register, join, drain and revoke nodes", _ROOT_ONLY),
    Can.MANAGE_ROUTES: Grant("Say who may run on which nodes, and change the hub's own policy", _ROOT_ONLY),
    Can.MANAGE_SECRETS: Grant("Set the secrets of the hub itself", _ROOT_ONLY),
    Can.SET_PRICES: Grant("Say what models cost whose runtimes do not tell", _ROOT_ONLY),
    Can.MANAGE_USERS: Grant("Create, change and deactivate people, and make others root operators", _ROOT_ONLY),
}
"""What each role may do in its project. What no role has only a root operator may, who may do everything.

The checks below, ``docs/permissions.md`` and the registry's page of it are all derived from this table."""

CAPABILITIES: Final[dict[str, frozenset[Can]]] = {
    role: frozenset(can for can, grant in TABLE.items() if role in grant.roles) for role in (*ROLES, AGENT_ROLE)
}


_OPERATORS_ONLY: Final = "This is the whole hub's: only a root operator may do that."


class InProject(Protocol):
    """Anything that belongs to a project."""

    @property
    def project_id(self) -> UUID: ...


def may(actor: Actor, capability: Can, project_id: UUID | None = None) -> bool:
    """Whether ``actor`` has the capability, in the project if it is one of a project's, and its token the scope."""
    if not actor.is_within_scope(capability):
        return False
    if actor.sees_all:
        return True
    role = actor.roles.get(project_id) if project_id else None
    return role is not None and capability in CAPABILITIES.get(role, frozenset())


def require(actor: Actor, capability: Can, thing: InProject | UUID | None = None) -> None:
    """Raise ``NotFound`` for what the actor may not see, ``Forbidden`` for what it sees but may not do."""
    project_id = thing if thing is None or isinstance(thing, UUID) else thing.project_id
    if may(actor, capability, project_id):
        return
    if project_id is not None and not actor.sees_all and project_id not in actor.roles:
        raise NotFound()
    if not actor.is_within_scope(capability):
        raise OutOfScope(capability=capability.value)
    is_hubs = project_id is None or not TABLE[capability].roles
    refusal = Forbidden(_OPERATORS_ONLY if is_hubs else _takes(capability), capability=capability.value)
    refusal.project = project_id
    raise refusal


def _takes(capability: Can) -> str:
    least = next((role for role in ROLES if role in TABLE[capability].roles), None)
    whose = "an agent's token" if least is None else f"the role {least}" + ("" if least is Role.OWNER else " or above")
    return f"Your role in this project does not allow that: it takes {whose}."


def require_self_or(actor: Actor, capability: Can, user_id: UUID, project_id: UUID | None = None) -> None:
    """As ``require``; but what concerns oneself alone needs no role, only a token's scope where one is used."""
    if actor.user_id != user_id:
        require(actor, capability, project_id)
    elif not actor.is_within_scope(capability):
        raise OutOfScope(capability=capability.value)
