"""Agents that come by MCP with tokens of their own making: the lines of an ``agents.env``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.db import transaction

from agenthub_site.accounts import tokens
from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project, Token
from agenthub_site.accounts.permissions import Can, require
from nodes.contract.errors import Conflict, Invalid

from ..models import Agent
from .agents import create_agent

TOKEN_NAME: Final = "agents.env"  # noqa: S105 (a name, not a secret)
LEAST_CHARS, MOST_CHARS = 8, 256
MOST_AGENTS: Final = 1_000


class TokenInUse(Conflict):
    code = "token_in_use"
    message = "This token belongs to somebody else on this hub. Use another."


@dataclass(frozen=True, slots=True)
class Imported:
    """One agent of the file. ``token`` is ``new``, ``replaced`` or ``unchanged``."""

    agent: Agent
    is_new: bool
    token: str


@transaction.atomic
def import_agents(project: Project, lines: Mapping[str, str], *, by: Actor) -> list[Imported]:
    """Make sure of an agent for each name, and that its token works. All of them, or none; twice is once.

    An agent that is there already keeps its settings. A token that differs from the one imported before takes its
    place. Raises ``Invalid`` for names and tokens that do not fit, ``TokenInUse``.
    """
    require(by, Can.CREATE_AGENT, project.pk)
    require(by, Can.MANAGE_TOKENS, project.pk)
    if not 0 < len(lines) <= MOST_AGENTS:
        raise Invalid(f"Give 1 to {MOST_AGENTS} agents.", fields={"agents": ["None, or too many."]})
    _check(lines)
    known = {agent.name: agent for agent in Agent.objects.filter(project=project, archived_at=None, name__in=lines)}
    return [_import(project, name, secret, known.get(name), by) for name, secret in lines.items()]


def _import(project: Project, name: str, secret: str, agent: Agent | None, by: Actor) -> Imported:
    is_new = agent is None
    if agent is None:
        agent = create_agent(project, by=by, name=name, runtime=Agent.Runtime.EXTERNAL)
    digest = Token.digest_of(secret)
    holder = Token.objects.filter(digest=digest).first()
    if holder and holder.agent_id == agent.pk and holder.revoked_at is None:
        return Imported(agent, is_new, "unchanged")
    if holder:
        raise TokenInUse(f"The token of {name} belongs to somebody else on this hub, or was revoked. Use another.")
    replaced = Token.objects.filter(agent_id=agent.pk, name=TOKEN_NAME, revoked_at=None).exists()
    if replaced:
        tokens.revoke_tokens_of(by, agent_id=agent.pk, name=TOKEN_NAME)
    label = f"{project.slug}/{agent.name}"
    tokens.create_agent_token(agent.pk, label, project.pk, name=TOKEN_NAME, by=by, secret=secret)
    return Imported(agent, is_new, "replaced" if replaced else "new")


def _check(lines: Mapping[str, str]) -> None:
    if len(set(lines.values())) < len(lines):
        raise Invalid("Two agents have the same token: give each its own.", fields={"agents": ["Tokens are shared."]})
    for name, secret in lines.items():
        if not (LEAST_CHARS <= len(secret) <= MOST_CHARS and secret.isascii() and secret.isprintable()):
            why = f"The token of {name} must have {LEAST_CHARS} to {MOST_CHARS} printable ASCII characters."
            raise Invalid(why, fields={"agents": [why]})
        if " " in secret:
            why = f"The token of {name} has a space in it."
            raise Invalid(why, fields={"agents": [why]})
