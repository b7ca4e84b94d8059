"""Ann, Ben and Cem are agents of Alice's project; what they send is short."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from agenthub_site.accounts.models import Project
from mailboxes.addresses import Address
from mailboxes.models import Delivery
from mailboxes.services import Sent, send, sweep

ANN, BEN, CEM = (Address("agent", str(UUID(int=number))) for number in (1, 2, 3))


def mail(project: Project, *to: Address, sender: Address = ANN, payload: Any = None, **more: Any) -> Sent:
    return send(project.pk, sender, to or (BEN,), {"n": 1} if payload is None else payload, **more)


def later(**more: float) -> datetime:
    return timezone.now() + timedelta(**more)


def let_leases_end(recipient: Address = BEN, rounds: int = 1) -> None:
    """Its leases run out, and the back-off is over."""
    sweep(later(hours=13))
    Delivery.objects.filter(inbox__kind=recipient.kind, inbox__owner=recipient.id).update(due_at=timezone.now())
