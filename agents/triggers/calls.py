"""Triggers as ``agenthub actor time-trigger-…`` sets them: messages to the actor itself, or to others."""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.db.models import QuerySet
from pydantic import Field

from agenthub_site.accounts.models import Project
from nodes.contract.errors import HubError, Invalid, NotFound
from nodes.contract.ids import uuid_of

from ..mail.acting import Acting, run_to_write_in
from ..mail.addressing import address_of
from ..mail.desk import find_run, project_at_hand
from ..mail.shapes import Shape, read_shape
from ..reading import in_thread
from .models import Trigger
from .services import TEXT_BYTES, cancel_trigger, set_trigger, triggers_of


class SetIn(Shape):
    message: str
    at: datetime | None = None
    delay_seconds: Annotated[float, Field(ge=1, le=2_592_000)] | None = None
    cron: str = ""
    timezone: str = ""
    to: str = ""
    name: str = ""
    key: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    run_id: UUID | None = None
    project: str = ""


class ListIn(Shape):
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    all: bool = False
    """Those that are over as well."""
    run_id: UUID | None = None


class CancelIn(Shape):
    trigger_ids: Annotated[list[str], Field(min_length=1, max_length=200)]
    run_id: UUID | None = None


async def set_(by: Acting, body: bytes) -> dict[str, Any]:
    return await in_thread(_set, by, read_shape(SetIn, body))


def _set(by: Acting, given: SetIn) -> dict[str, Any]:
    run = find_run(by.actor, run_to_write_in(by, given.run_id))
    project_id = project_at_hand(by.actor, given.project, run, by.project_id)
    if not 0 < len(given.message.encode("utf-8", "replace")) <= TEXT_BYTES:
        raise Invalid(f"A trigger's message has 1 to {TEXT_BYTES} bytes.", fields={"message": ["does not fit"]})
    trigger = set_trigger(
        Project.objects.get(pk=project_id), by=by.actor, at=given.at, delay_seconds=given.delay_seconds,
        cron=given.cron, zone=given.timezone, to=[given.to] if given.to else [], payload={"text": given.message},
        name=given.name, key=given.key, run_id=run.pk if run else None,
    )  # fmt: skip
    return _shown(trigger)


async def list_(by: Acting, body: bytes) -> dict[str, Any]:
    return await in_thread(_list, by, read_shape(ListIn, body))


def _list(by: Acting, given: ListIn) -> dict[str, Any]:
    found = _triggers_of(by, given.run_id).filter(project__in=by.actor.project_ids)
    if not given.all:
        found = found.filter(state__in=(Trigger.State.ACTIVE, Trigger.State.PAUSED))
    return {"triggers": [_shown(trigger) for trigger in found[: given.limit]]}


async def cancel(by: Acting, body: bytes) -> dict[str, Any]:
    """Each in order; one that cannot be cancelled stops none behind it."""
    given = read_shape(CancelIn, body)
    return {"results": [await in_thread(_cancel, by, trigger_id, given.run_id) for trigger_id in given.trigger_ids]}


def _triggers_of(by: Acting, run_id: UUID | None) -> "QuerySet[Trigger]":
    """Those of one run, or all of the actor's; within a run none of its other live runs."""
    own = triggers_of(address_of(by.actor)).exclude(run_id__in=by.apart)
    return own.filter(run_id=run_id) if run_id else own


def _cancel(by: Acting, trigger_id: str, run_id: UUID | None) -> dict[str, Any]:
    try:
        pk = uuid_of(trigger_id)
        trigger = _triggers_of(by, run_id).filter(pk=pk).first() if pk else None
        if trigger is None:
            raise NotFound(f"This actor has no trigger {trigger_id[:80]!r}.")
        return _shown(cancel_trigger(trigger, by=by.actor))
    except HubError as error:
        return {"id": trigger_id, "error": error.as_json()["error"]}


def _message_of(trigger: Trigger) -> str | None:
    """What it says, if that is plain text."""
    payload = json.loads(trigger.payload)
    text = payload.get("text") if isinstance(payload, dict) else None
    return text if isinstance(text, str) else None


def _shown(trigger: Trigger) -> dict[str, Any]:
    return {
        "id": str(trigger.pk),
        "name": trigger.name,
        "run_id": str(trigger.run_id) if trigger.run_id else None,
        "state": trigger.state,
        "schedule": trigger.schedule,
        "next_at": trigger.next_at.isoformat().replace("+00:00", "Z") if trigger.next_at else None,
        "to": trigger.to,
        "message": _message_of(trigger),
        "starts_runs": trigger.agent_id is not None,
        "attempts": trigger.attempts,
        "last_error": trigger.last_error,
    }
