"""One process at a time: a row that is claimed for a while. Times are the database's clock."""

from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.db.models.functions import Now

from .models import Lease

LEASE_SECONDS: Final = 15.0


def claim(name: str, owner: str, seconds: float = LEASE_SECONDS) -> bool:
    """Take or prolong it, within the caller's transaction, whose end nobody else gets past; False if another has it."""
    Lease.objects.get_or_create(name=name)
    free = Q(owner=owner) | Q(expires_at=None) | Q(expires_at__lt=Now())
    held = Lease.objects.filter(free, name=name).update(owner=owner, expires_at=Now() + timedelta(seconds=seconds))
    return bool(held)


def is_held_elsewhere(name: str, owner: str) -> bool:
    return Lease.objects.filter(~Q(owner=owner), name=name, expires_at__gte=Now()).exists()
