"""A call from within a run that is asked twice, because its answer was lost on the way, is done once."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from django.db import transaction

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.idempotency import claim_key, keep_answer


def at_most_once(actor: Actor, tool: str, key: str, arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """A function that does what it is given, unless that was done under ``key`` before: then it has the first answer.

    Key, work and answer are one transaction: a refusal keeps nothing, and what is refused may be tried again.
    """
    return partial(_at_most_once, actor, f"MCP {tool}", key, dict(arguments))


def _at_most_once(
    actor: Actor, route: str, key: str, arguments: dict[str, Any], work: Callable[..., Any], *given: Any, **named: Any
) -> Any:
    with transaction.atomic():
        kept, is_new = claim_key(actor, route, key, arguments)
        if is_new:
            keep_answer(kept, work(*given, **named))
        return kept.body
