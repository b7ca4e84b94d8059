"""Delivering again what is dead, to those who are still there to take it."""

from collections.abc import Collection, Sequence
from uuid import UUID

from django.db import transaction

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import User
from mailboxes.addresses import Address
from mailboxes.models import Delivery
from mailboxes.services import requeue
from mailboxes.states import State
from nodes.contract.errors import Conflict, WrongState

from ..models import Agent
from ..webhooks.models import Webhook
from .addressing import names_of
from .repeats import whom_named


class RecipientGone(Conflict):
    code, grpc = "recipient_gone", "FAILED_PRECONDITION"
    message = "Whom it was for is gone. Send it to somebody else."


@transaction.atomic
def requeue_mail(message_id: UUID, *, by: Actor, to: Sequence[Address] | None = None) -> list[tuple[Address, int]]:
    """``requeue`` a message to all for whom it is dead and who are still there, or to those of ``to``.

    Raises what ``requeue`` does, and ``RecipientGone`` if nobody is left, or one of ``to`` is gone.
    """
    dead = _dead_for(message_id)
    wanted = dead if to is None else dead & set(to)
    left = _still_there(wanted)
    if wanted and (not left or (to is not None and left != wanted)):
        gone = sorted(str(address) for address in wanted - left)
        raise RecipientGone(message_id=str(message_id), gone=gone[:100])
    return requeue(message_id, by=by, to=list(left) if left else to)


def find_dead(message_id: UUID, words: Sequence[str]) -> list[Address]:
    """Whom the words name of those for whom the message is dead: by id or name. Raises ``WrongState``."""
    meant = whom_named(words, names_of(_dead_for(message_id)))
    for word in words:
        if word not in meant:
            raise WrongState(f"This message is not dead for {word[:100]!r}.", to=word[:100])
    return list(meant.values())


def _dead_for(message_id: UUID) -> set[Address]:
    rows = Delivery.objects.filter(message=message_id, state=State.DEAD).values_list("inbox__kind", "inbox__owner")
    return {Address(kind, owner) for kind, owner in rows}


def _still_there(addresses: Collection[Address]) -> set[Address]:
    """Less the agents that were put away, the people that were, and the webhooks that were removed."""

    def ids(kind: str) -> list[str]:
        return [address.id for address in addresses if address.kind == kind]

    owners = {
        "agent": Agent.objects.filter(pk__in=ids("agent"), archived_at=None),
        "user": User.objects.filter(pk__in=ids("user"), is_active=True),
        "webhook": Webhook.objects.filter(pk__in=ids("webhook")),
    }
    found = {kind: {str(pk) for pk in rows.values_list("pk", flat=True)} for kind, rows in owners.items()}
    return {address for address in addresses if address.kind not in found or address.id in found[address.kind]}
