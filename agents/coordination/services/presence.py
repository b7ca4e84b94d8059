"""What agents that come by MCP say of themselves."""

from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from audit.services import record

from ..models import Presence
from ..queries import own_agent
from .texts import checked_lines, checked_word

MOST_CAPABILITIES: Final = 50
CAPABILITY_CHARS: Final = 64


@transaction.atomic
def register_agent(*, by: Actor, name: str, capabilities: list[str]) -> Presence:
    """Keep the name and the capabilities that the agent gives itself. Nothing depends on them."""
    agent = own_agent(by)
    said: dict[str, Any] = {
        "name": checked_word("name", name, 128),
        "capabilities": checked_lines(
            "capabilities", capabilities, most=MOST_CAPABILITIES, most_chars=CAPABILITY_CHARS
        ),
    }
    now = timezone.now()
    presence = Presence.objects.filter(agent=agent).first()
    is_new = presence is None or (presence.name, presence.capabilities) != (said["name"], said["capabilities"])
    presence, _ = Presence.objects.update_or_create(
        agent=agent, defaults={**said, "registered_at": now, "heartbeat_at": now}
    )
    if is_new:
        told = {"says_its_name": said["name"], "capabilities": len(said["capabilities"])}
        record(agent.project_id, "agent.registered", by=by, of=("agent", agent.pk), **told)
    return presence


def note_heartbeat(*, by: Actor) -> Presence:
    """The agent is there. Not in the trail."""
    presence, _ = Presence.objects.update_or_create(agent=own_agent(by), defaults={"heartbeat_at": timezone.now()})
    return presence
