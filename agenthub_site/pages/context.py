"""What every page's frame needs: how many approvals wait."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.authentication import request_actor
from agenthub_site.accounts.models import User
from agents.models import Approval, VisibleQuerySet


def open_approvals(actor: Actor) -> VisibleQuerySet[Approval]:
    """Questions that still wait for an answer, oldest first."""
    waiting: VisibleQuerySet[Approval] = Approval.objects.visible_to(actor).filter(
        state=Approval.State.PENDING, expires_at__gt=timezone.now()
    )
    return waiting


def frame(request: HttpRequest) -> dict[str, Any]:
    """Context processor. Counts only where a template asks."""
    if not isinstance(getattr(request, "user", None), User):
        return {}
    return {"approvals_waiting": SimpleLazyObject(lambda: open_approvals(request_actor(request)).count())}
