"""What every page's frame needs: how many approvals and messages wait."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from agenthub_site.accounts.authentication import request_actor
from agenthub_site.accounts.models import User
from agents.queries import open_approvals

from .mail import open_messages


def frame(request: HttpRequest) -> dict[str, Any]:
    """Context processor. Counts only where a template asks."""
    if not isinstance(getattr(request, "user", None), User):
        return {}
    return {
        "approvals_waiting": SimpleLazyObject(lambda: open_approvals(request_actor(request)).count()),
        "messages_open": SimpleLazyObject(lambda: open_messages(request_actor(request))),
    }
