"""Whoever acts. Doors make an actor, services ask what it may do, the audit trail says who it was."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from nodes.contract.events import Who


class ActorKind(StrEnum):
    USER = "user"
    AGENT = "agent"
    NODE = "node"
    INTEGRATION = "integration"
    SYSTEM = "system"


AGENT_ROLE: Final = "agent"
"""What an agent is in its project. Not a role that a member can be given."""


class Entry(StrEnum):
    """By which way somebody came in, as far as the credential proves it; a user agent proves nothing.

    ``web`` is a browser's session, ``cli`` the operator's socket, ``api`` a bearer token, whichever program holds it.
    """

    WEB = "web"
    API = "api"
    CLI = "cli"
    MCP = "mcp"
    FEISHU = "feishu"
    TRIGGER = "trigger"


@dataclass(frozen=True, slots=True)
class Held:
    """The token that an actor came with: the most that it may do with it, until when, and where (None: anywhere)."""

    id: UUID
    scope: frozenset[str]
    expires_at: datetime | None = None
    project_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking, through which address and with which token, and their role in each of their projects."""

    kind: ActorKind
    id: str
    label: str = ""
    is_root: bool = False
    roles: dict[UUID, str] = field(default_factory=dict)
    address: str = ""
    user_agent: str = ""
    token: Held | None = None
    entry: str = ""
    """An ``Entry``; empty for what came by none of them, such as the system."""

    @property
    def sees_all(self) -> bool:
        return self.is_root or self.kind is ActorKind.SYSTEM

    @property
    def project_ids(self) -> list[UUID]:
        return list(self.roles)

    @property
    def user_id(self) -> UUID | None:
        return UUID(self.id) if self.kind is ActorKind.USER else None

    def is_within_scope(self, capability: str) -> bool:
        """Whether the token lets it do so; who came without one is bound by nothing but their role."""
        return self.token is None or capability in self.token.scope

    def as_who(self) -> Who:
        return Who(kind=self.kind, id=self.id, label=self.label)


SYSTEM: Final = Actor(ActorKind.SYSTEM, "system", "AgentHub")
"""The hub itself: schedulers, reconcilers, clean-up."""
