"""Which nodes somebody may see."""

from django.db.models import QuerySet

from agenthub_site.accounts.actors import Actor

from .models import Node


def visible_nodes(actor: Actor) -> QuerySet[Node]:
    """Every node, for root and for members of any project: any agent may be put on any node. None for others."""
    return registered_nodes() if actor.sees_all or actor.roles else Node.objects.none()


def registered_nodes() -> QuerySet[Node]:
    """All but the removed ones."""
    return Node.objects.filter(removed_at=None)
