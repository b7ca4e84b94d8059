"""Tokens that speak for an agent, in its project and nowhere else. They end with the agent."""

from datetime import datetime

from django.db import transaction

from agenthub_site.accounts import tokens
from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Token
from nodes.contract.errors import Invalid

from ..models import Agent


@transaction.atomic
def create_agent_token(
    agent: Agent, name: str, *, by: Actor, expires_at: datetime | None = None, scope: str | None = None
) -> tuple[Token, str]:
    """A token and its secret, told here and never again. ``Invalid`` for an agent that was put away."""
    # Whoever puts it away at the same time waits, and then revokes this one as well.
    agent = Agent.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=agent.pk)
    if agent.archived_at:
        raise Invalid("This agent was put away: it needs no token.")
    return tokens.create_agent_token(
        agent.pk, f"{agent.project.slug}/{agent.name}", agent.project_id,
        name=name, by=by, expires_at=expires_at, scope=scope,
    )  # fmt: skip
