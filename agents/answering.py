"""Answers to approvals that come over a live socket: the same service as REST, under the caller's roles of now."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, close_old_connections, connection

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.admission import Caller
from nodes.contract.errors import HubError, Invalid, NotFound, Unavailable
from nodes.contract.ids import uuid_of

from .models import Approval
from .services.approvals import decide_approval

_FIELDS: Final = {"approval_id", "option_id", "outcome", "key"}
_MOST_KEY: Final = 200
_threads: Final = ThreadPoolExecutor(2, "answers")


class AnswerRefused(Exception):
    """The answer with this key was not taken."""

    def __init__(self, key: str, error: HubError) -> None:
        super().__init__(error.text)
        self.key = key
        self.error = error


async def take_answer(caller: Caller, text: str, run_id: UUID | None = None) -> dict[str, Any]:
    """Decide what ``text`` says; ``{"answered": …}``. With ``run_id`` only that run's. Raises ``AnswerRefused``."""
    key = ""
    try:
        given = _read(text)
        key = given.get("key", "")
        actor = await caller.now()
        return await asyncio.get_running_loop().run_in_executor(_threads, _decide, actor, given, run_id)
    except HubError as error:
        raise AnswerRefused(key, error) from error


def _read(text: str) -> dict[str, str]:
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    given = said.get("answer") if isinstance(said, dict) and said.keys() == {"answer"} else None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise Invalid('Send {"answer": {"approval_id": …, "option_id": …, "key": …}}, with texts as values.')
    if unknown := sorted(given.keys() - _FIELDS):
        raise Invalid(f"There is no such field: {', '.join(unknown)[:100]}.", fields=sorted(_FIELDS))
    if len(given.get("key", "")) > _MOST_KEY:
        raise Invalid(f"A key has {_MOST_KEY} characters at most.")
    return given


def _decide(actor: Actor, given: dict[str, str], run_id: UUID | None) -> dict[str, Any]:
    try:
        close_old_connections()
        seen, pk = Approval.objects.visible_to(actor), uuid_of(given.get("approval_id", ""))
        seen = (seen.filter(run=run_id) if run_id else seen).select_related("offered_agent")
        approval = seen.filter(pk=pk).first() if pk else None
        if approval is None:
            raise NotFound("There is no such approval that you may see.")
        decide_approval(approval, by=actor, option_id=given.get("option_id"), outcome=given.get("outcome"))
    except DatabaseError as error:
        connection.close()
        raise Unavailable("The database is not there just now; send it again.") from error
    finally:
        if connection.vendor != "sqlite":
            connection.close()
    return {
        "answered": {
            "key": given.get("key", ""),
            "approval": str(approval.pk),
            "state": approval.state,
            "outcome": approval.outcome,
            "option_id": approval.option_id,
            "by": actor.as_who().model_dump(mode="json"),
        }
    }
