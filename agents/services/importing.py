"""Agents that come by MCP with tokens of their own making: the lines of an ``agents.env``."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from django.core.cache import cache
from django.db import transaction
from django.utils import timezone

from agenthub_site.accounts import tokens
from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project, Token
from agenthub_site.accounts.permissions import Can, require
from audit.refusals import Refusal, as_who, refusals
from nodes.contract.errors import Conflict, HubError, Invalid

from ..models import Agent
from .agents import create_agent

TOKEN_NAME: Final = "agents.env"  # noqa: S105 (a name, not a secret)
LEAST_CHARS, MOST_CHARS, LEAST_DIFFERENT = 16, 256, 6
"""Of a token: 32 random bytes are 43 characters; the last one is how many different ones it has at least."""
MOST_AGENTS: Final = 1_000
TRIES: Final = 5
WINDOW_SECONDS: Final = 300


class TokenInUse(Conflict):
    """It says of no line that it is the one: who may import is not to find out what is a token elsewhere."""

    code = "token_in_use"
    message = "A token of this file belongs to somebody else on this hub. Make new ones for the agents that are new."


class TokenRevoked(Conflict):
    code = "token_revoked"
    message = "A token of this file was revoked. Give its agent another."


class TooManyTries(HubError):
    code, http, grpc = "throttled", 429, "RESOURCE_EXHAUSTED"
    message = "Too many imports with tokens of others; wait five minutes."


@dataclass(frozen=True, slots=True)
class Imported:
    """One agent of the file. ``token`` is ``new``, ``replaced``, ``renewed`` or ``unchanged``."""

    agent: Agent
    is_new: bool
    token: str


def import_agents(project: Project, lines: Mapping[str, str], *, by: Actor) -> list[Imported]:
    """Make sure of an agent for each name, and that its token works. All of them, or none; twice is once.

    An agent that is there already keeps its settings. A token that differs from the one imported before takes its
    place; its own that ran out is renewed. Raises ``Invalid`` for names and tokens that do not fit, ``TokenInUse``
    (in the trail, and ``TooManyTries`` after some), ``TokenRevoked``.
    """
    require(by, Can.CREATE_AGENT, project.pk)
    require(by, Can.MANAGE_TOKENS, project.pk)
    if not 0 < len(lines) <= MOST_AGENTS:
        raise Invalid(f"Give 1 to {MOST_AGENTS} agents.", fields={"agents": ["None, or too many."]})
    _check(lines)
    tries = f"import:{by.kind}:{by.id}"
    if cache.get(tries, 0) >= TRIES:
        raise TooManyTries()
    try:
        with transaction.atomic():
            return _import_all(project, lines, by)
    except TokenInUse as error:
        cache.add(tries, 0, WINDOW_SECONDS)
        with suppress(ValueError):  # the window ended just now
            cache.incr(tries)
        refusals.note(Refusal("access.refused", as_who(by), project=project.pk, code=error.code, door="agents.env"))
        raise


@transaction.atomic
def revoke_unlisted(project: Project, lines: Mapping[str, str], *, by: Actor) -> list[str]:
    """Revoke the imported tokens of the project that its file does not give to their agent any more: all of them for
    an empty file. Returns the agents' names. Tokens that were made otherwise stay.
    """
    require(by, Can.MANAGE_TOKENS, project.pk)
    digests = {name: Token.digest_of(secret) for name, secret in lines.items()}
    names = dict(Agent.objects.filter(project=project).values_list("pk", "name"))
    held = Token.objects.filter(project=project, name=TOKEN_NAME, revoked_at=None, agent_id__in=names)
    gone = {
        pk: names[agent_id]
        for pk, agent_id, digest in held.values_list("pk", "agent_id", "digest")
        if agent_id and digests.get(names[agent_id]) != digest
    }
    if gone:
        tokens.revoke_tokens_of(by, pk__in=gone)
    return sorted(set(gone.values()))


def _import_all(project: Project, lines: Mapping[str, str], by: Actor) -> list[Imported]:
    # Whoever puts one away at the same time waits, and then revokes its new token as well.
    known = Agent.objects.filter(project=project, archived_at=None, name__in=lines)
    locked = known.select_for_update(no_key=True, of=("self",)).order_by("pk")
    agents = {agent.name: agent for agent in locked}
    is_new = {name: name not in agents for name in lines}
    for name in filter(is_new.get, lines):
        agents[name] = create_agent(project, by=by, name=name, runtime=Agent.Runtime.EXTERNAL)
    # Last of all that may fail, so that no other mistake in the file hides a guess.
    digests = {name: Token.digest_of(secret) for name, secret in lines.items()}
    held = {token.digest: token for token in Token.objects.filter(digest__in=digests.values())}
    holders = {name: held.get(digest) for name, digest in digests.items()}
    if any(holder and holder.agent_id != agents[name].pk for name, holder in holders.items()):
        raise TokenInUse()
    if any(holder and holder.revoked_at for holder in holders.values()):
        raise TokenRevoked()
    return [
        Imported(agents[name], is_new[name], _give(project, agents[name], secret, holders[name], by))
        for name, secret in lines.items()
    ]


def _give(project: Project, agent: Agent, secret: str, holder: Token | None, by: Actor) -> str:
    """What was done for the agent, whose row is locked and who alone may have this token."""
    if holder and holder.is_valid(timezone.now()):
        return "unchanged"
    if holder:
        tokens.renew_agent_token(holder, by=by)
        return "renewed"
    replaced = Token.objects.filter(agent_id=agent.pk, name=TOKEN_NAME, revoked_at=None).exists()
    if replaced:
        tokens.revoke_tokens_of(by, agent_id=agent.pk, name=TOKEN_NAME)
    label = f"{project.slug}/{agent.name}"
    tokens.create_agent_token(agent.pk, label, project.pk, name=TOKEN_NAME, by=by, secret=secret)
    return "replaced" if replaced else "new"


def _check(lines: Mapping[str, str]) -> None:
    if len(set(lines.values())) < len(lines):
        raise Invalid("Two agents have the same token: give each its own.", fields={"agents": ["Tokens are shared."]})
    for name, secret in lines.items():
        if not (LEAST_CHARS <= len(secret) <= MOST_CHARS and secret.isascii() and secret.isprintable()):
            why = f"The token of {name} must have {LEAST_CHARS} to {MOST_CHARS} printable ASCII characters."
            raise Invalid(why, fields={"agents": [why]})
        if len(set(secret)) < LEAST_DIFFERENT:
            why = f"The token of {name} is too easy to guess: make one of 32 random bytes."
            raise Invalid(why, fields={"agents": [why]})
        if " " in secret:
            why = f"The token of {name} has a space in it."
            raise Invalid(why, fields={"agents": [why]})
