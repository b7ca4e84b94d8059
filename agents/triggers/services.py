"""Set, pause, resume and cancel triggers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.models import Project, Token
from agenthub_site.accounts.permissions import Can, may, require
from audit.services import record
from mailboxes.addresses import Address
from mailboxes.payload import encode_payload
from mailboxes.services import draft
from nodes.contract.errors import Conflict, Forbidden, Invalid, WrongState
from nodes.contract.limits import PROMPT_BYTES

from ..mail.addressing import address_of, resolve
from ..models import Agent
from .models import Trigger
from .schedule import check_cron, in_utc, next_after, once, zone_of

MOST: Final = 100
"""Triggers of one owner that are not over."""
TEXT_BYTES: Final = 16_384
_OPEN: Final = (Trigger.State.ACTIVE, Trigger.State.PAUSED)


class TooManyTriggers(Conflict):
    code, grpc = "too_many_triggers", "RESOURCE_EXHAUSTED"
    message = f"One actor has at most {MOST} triggers. Cancel some."


class KeyReused(Conflict):
    code = "trigger_key_reused"
    message = "Another trigger was set with this key. Use a new key for each."


@transaction.atomic
def set_trigger(
    project: Project,
    *,
    by: Actor,
    at: datetime | None = None,
    delay_seconds: float | None = None,
    cron: str = "",
    zone: str = "",
    to: Sequence[str] = (),
    payload: Any = None,
    subject: str = "",
    agent: Agent | None = None,
    prompt: str = "",
    name: str = "",
    overlap: str = Trigger.Overlap.SKIP,
    catch_up: str = Trigger.CatchUp.ONE,
    key: str | None = None,
    run_id: UUID | None = None,
) -> Trigger:
    """Have a message sent by ``by`` (to itself, if ``to`` is empty), or a run of ``agent`` started by it, later.

    ``zone`` is that of ``cron``, and of an ``at`` that names none.
    Asked for again with the same ``key`` it is the same trigger, whatever became of it since.

    Raises ``Invalid`` for a time that is none or more than 30 days away, ``UnknownRecipient``, ``TooManyTriggers``, and
    ``KeyReused`` for a key under which something else was set.
    """
    now = timezone.now()
    require(by, Can.START_RUN if agent else Can.SEND_MESSAGE, project.pk)
    if sum((at is not None, delay_seconds is not None, bool(cron))) != 1:
        raise Invalid("Say when in one way: at, delay_seconds, or cron.", fields={"at": ["one of the three"]})
    owner = address_of(by)
    if agent is None:
        to = list(to) or [str(owner)]
    elif not prompt.strip() or len(prompt.encode("utf-8", "replace")) > PROMPT_BYTES:
        raise Invalid(f"A run's prompt has 1 to {PROMPT_BYTES} bytes.", fields={"prompt": ["does not fit"]})
    elif agent.project_id != project.pk:
        raise Invalid("The agent is of another project.", fields={"agent": ["is of another project"]})
    if len(name) > 64 or not (name.isprintable() or not name):
        raise Invalid("A name has at most 64 printable characters.", fields={"name": ["does not fit"]})
    if key is not None and not (0 < len(key) <= 128 and key.isprintable()):
        raise Invalid("A key has 1 to 128 printable characters.", fields={"key": ["does not fit"]})
    cron, zone = check_cron(cron, zone) if cron else ("", zone_of(zone or "UTC").key)
    at = in_utc(at, zone) if at else None
    trigger = Trigger(
        project=project, name=name, owner_kind=owner.kind, owner_id=owner.id, owner_label=by.label[:150],
        key=key, run_id=run_id, at=at, delay_seconds=delay_seconds,
        cron=cron, timezone=zone, to=[] if agent else list(to), subject=subject,
        payload="null" if agent else encode_payload(payload), agent=agent, prompt=prompt if agent else "",
        overlap=overlap, catch_up=catch_up,
        token_id=Token.objects.filter(pk=by.token.id).values_list("pk", flat=True).first() if by.token else None,
    )  # fmt: skip
    # Before its time and recipients are looked at: the one has passed, the others may be gone when it is asked again.
    if kept := _find_kept(trigger):
        return kept
    if agent is None:
        draft(project.pk, owner, resolve(project.pk, to, sender=owner).addresses, payload, subject=subject)
    trigger.next_at = next_after(cron, zone, now) if cron else once(now, at=at, delay_seconds=delay_seconds)
    if triggers_of(owner).filter(state__in=_OPEN).count() >= MOST:
        raise TooManyTriggers(limit=MOST)
    try:
        with transaction.atomic():
            trigger.save(force_insert=True)
    except IntegrityError:  # the same was asked twice at once
        if kept := _find_kept(trigger):
            return kept
        raise
    record(
        project.pk, "trigger.created", by=by, of=("trigger", trigger.pk), trigger=name, schedule=trigger.schedule,
        starts=agent.name if agent else "",
    )  # fmt: skip
    return trigger


def _find_kept(made: Trigger) -> Trigger | None:
    """What was set before with the key of ``made``. Raises ``KeyReused`` if that was something else."""
    if made.key is None:
        return None
    kept = Trigger.objects.filter(owner_kind=made.owner_kind, owner_id=made.owner_id, key=made.key).first()
    if kept is None:
        return None
    is_old = not kept.cron and kept.at is None and kept.delay_seconds is None  # of a hub that did not keep them
    said = _SAID if is_old and not made.cron else (*_SAID, "at", "delay_seconds")
    if any(getattr(kept, name) != getattr(made, name) for name in said):
        raise KeyReused(trigger=str(kept.pk))
    return kept


_SAID: Final = (
    "project_id", "run_id", "name", "cron", "timezone", "to", "subject", "payload", "agent_id", "prompt", "overlap",
    "catch_up",
)  # fmt: skip


def cancel_trigger(trigger: Trigger, *, by: Actor) -> Trigger:
    """Have it not fire any more. Raises ``WrongState`` for one that is over."""
    return _move(trigger, Trigger.State.CANCELLED, _OPEN, by, next_at=None)


def pause_trigger(trigger: Trigger, *, by: Actor) -> Trigger:
    """What is due meanwhile is missed. Raises ``WrongState``."""
    return _move(trigger, Trigger.State.PAUSED, (Trigger.State.ACTIVE,), by)


def resume_trigger(trigger: Trigger, *, by: Actor) -> Trigger:
    """Go on: by cron with the next time; once, if its time has not passed. Also one that had failed by cron."""
    now = timezone.now()
    next_at = next_after(trigger.cron, trigger.timezone, now) if trigger.cron else trigger.next_at
    if next_at is None or next_at <= now:
        raise WrongState("Its time has passed; set a new one.", state=trigger.state)
    states = (Trigger.State.PAUSED, *([Trigger.State.FAILED] if trigger.cron else []))
    return _move(trigger, Trigger.State.ACTIVE, states, by, next_at=next_at, attempts=0, retry_at=None)


_PAST: Final = {
    Trigger.State.CANCELLED: "cancelled", Trigger.State.PAUSED: "paused", Trigger.State.ACTIVE: "resumed",
}  # fmt: skip


@transaction.atomic
def _move(trigger: Trigger, to: Trigger.State, states: Sequence[str], by: Actor, **fields: Any) -> Trigger:
    require_steering(trigger, by)
    moved = Trigger.objects.filter(pk=trigger.pk, state__in=states).update(state=to, **fields)
    trigger.refresh_from_db()
    if moved:
        record(trigger.project_id, f"trigger.{_PAST[to]}", by=by, of=("trigger", trigger.pk), trigger=trigger.name)
    elif trigger.state != to:
        raise WrongState(f"This trigger is {trigger.state}.", state=trigger.state)
    return trigger


def require_steering(trigger: Trigger, by: Actor) -> None:
    """Its owner, and who manages the project's messages. Raises ``NotFound``, ``Forbidden``."""
    require(by, Can.VIEW, trigger.project_id)
    is_owner = (trigger.owner_kind, trigger.owner_id) == (by.kind, by.id) and by.is_within_scope(Can.SEND_MESSAGE)
    if not (is_owner or may(by, Can.MANAGE_MESSAGES, trigger.project_id)):
        raise Forbidden("Only its owner and the project's maintainers steer a trigger.")


def is_readable(trigger: Trigger, by: Actor) -> bool:
    """Whether what it says and to whom is shown to ``by``, who sees that it is there."""
    is_owner = (trigger.owner_kind, trigger.owner_id) == (by.kind, by.id)
    return is_owner or may(by, Can.MANAGE_MESSAGES, trigger.project_id)


def triggers_of(owner: Address) -> "QuerySet[Trigger]":
    return Trigger.objects.filter(owner_kind=owner.kind, owner_id=owner.id)
