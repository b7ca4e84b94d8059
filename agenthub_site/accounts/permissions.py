"""Who may do what: one table from role to capabilities, and ``require``, the first line of every service."""

from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from nodes.contract.errors import Forbidden, NotFound

from .actors import Actor
from .models import Role


class Can(StrEnum):
    """Capabilities, ``noun:verb``, alphabetical."""

    ANSWER_APPROVAL = "approval:answer"
    CANCEL_RUN = "run:cancel"
    CREATE_AGENT = "agent:create"
    CREATE_PROJECT = "project:create"
    EDIT_AGENT = "agent:edit"
    EDIT_PROJECT = "project:edit"
    MANAGE_MEMBERS = "member:manage"
    MANAGE_NODES = "node:manage"
    MANAGE_USERS = "user:manage"
    SEND_INPUT = "run:input"
    START_RUN = "run:start"
    VIEW = "project:view"


_VIEWER: Final = frozenset({Can.VIEW})
_REVIEWER: Final = _VIEWER | {Can.ANSWER_APPROVAL}
_DEVELOPER: Final = _REVIEWER | {Can.START_RUN, Can.CANCEL_RUN, Can.SEND_INPUT}
_MAINTAINER: Final = _DEVELOPER | {Can.CREATE_AGENT, Can.EDIT_AGENT, Can.EDIT_PROJECT}
_OWNER: Final = _MAINTAINER | {Can.MANAGE_MEMBERS}

CAPABILITIES: Final[dict[str, frozenset[Can]]] = {
    Role.OWNER: _OWNER,
    Role.MAINTAINER: _MAINTAINER,
    Role.DEVELOPER: _DEVELOPER,
    Role.REVIEWER: _REVIEWER,
    Role.VIEWER: _VIEWER,
}
"""What each role may do in its project. What no role has (nodes, users, new projects) only root may."""


class InProject(Protocol):
    """Anything that belongs to a project."""

    @property
    def project_id(self) -> UUID: ...


def may(actor: Actor, capability: Can, project_id: UUID | None = None) -> bool:
    """Whether ``actor`` has the capability, in the project if it is one of a project's."""
    if actor.sees_all:
        return True
    role = actor.roles.get(project_id) if project_id else None
    return role is not None and capability in CAPABILITIES.get(role, frozenset())


def require(actor: Actor, capability: Can, thing: InProject | UUID | None = None) -> None:
    """Raise ``NotFound`` for what the actor may not see, ``Forbidden`` for what it sees but may not do."""
    project_id = thing if thing is None or isinstance(thing, UUID) else thing.project_id
    if may(actor, capability, project_id):
        return
    if project_id is not None and project_id not in actor.roles:
        raise NotFound()
    raise Forbidden(capability=capability.value)
