"""The loop that fires triggers: each time of each at most once, since it is claimed in the transaction that acts."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import DatabaseError, transaction
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM, Actor, Entry
from agenthub_site.accounts.authentication import actor_of, actor_of_token
from agenthub_site.accounts.models import Token, User
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from mailboxes.addresses import Address
from mailboxes.services import draft
from nodes.contract.errors import Forbidden, HubError

from ..mail.acting import actor_of_agent
from ..mail.addressing import resolve
from ..mail.bounds import post_bounded
from ..models import Agent
from ..services.runs import start_run
from ..states import ENDED
from .models import Firing, Trigger
from .schedule import missed_until, next_after

logger = structlog.get_logger(__name__)

AT_ONCE: Final = 100
LATE: Final = timedelta(seconds=60)
"""Later than this a time was missed, and ``catch_up`` says what becomes of it."""
ATTEMPTS: Final = 5
"""For one time of a trigger; then it has failed, and so has a trigger that fires once."""
RETRY: Final = timedelta(seconds=5)
"""After the first failure; doubled after each further one."""
FAILURES: Final = 10
"""Times of a trigger by cron that fail in a row, after which it fails altogether."""
KEPT: Final = 200
"""Entries of a trigger's history."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What becomes of the time at hand, and for which one the trigger waits then."""

    due_at: datetime
    following: datetime | None
    outcome: str = Firing.Outcome.FIRED
    detail: str = ""


def tick(now: datetime) -> int:
    """Fire what is due. How many times were dealt with."""
    due = Trigger.objects.filter(state=Trigger.State.ACTIVE, next_at__lte=now).order_by("next_at")
    due = due.exclude(retry_at__gt=now)
    return sum(_deal_apart(pk, now) for pk in list(due.values_list("pk", flat=True)[:AT_ONCE]))


def _deal_apart(pk: UUID, now: datetime) -> bool:
    """``_deal_with``; whatever goes wrong with one trigger, the others are dealt with as well."""
    try:
        return _deal_with(pk, now)
    except DatabaseError:  # it is due at the next tick as well
        logger.exception("trigger.not_dealt_with", trigger=str(pk))
        return False
    except Exception:
        logger.exception("trigger.broke", trigger=str(pk))
    _note_failure(pk, now, "The hub could not deal with it. Its log says why.")
    return True


def _deal_with(pk: UUID, now: datetime) -> bool:
    """False if another process was faster."""
    try:
        with transaction.atomic():
            trigger = _claim(pk, now)
            if trigger is None:
                return False
            plan = _plan(trigger, now)
            firing = Firing(trigger=trigger, due_at=plan.due_at, at=now, outcome=plan.outcome, detail=plan.detail)
            if plan.outcome == Firing.Outcome.FIRED:
                _fire(trigger, firing)
            _settle(trigger, firing, plan.following)
            return True
    except HubError as error:
        _note_failure(pk, now, error.text)
        return True


def _claim(pk: UUID, now: datetime) -> Trigger | None:
    """Locked until the end of the transaction; None if there is nothing to do any more."""
    due = Trigger.objects.select_for_update(of=("self",), no_key=True).select_related("project")
    return due.filter(pk=pk, state=Trigger.State.ACTIVE, next_at__lte=now).exclude(retry_at__gt=now).first()


def _plan(trigger: Trigger, now: datetime) -> _Plan:
    due = trigger.next_at or now
    is_late = now - (trigger.retry_at or due) > LATE  # its pause after a failure is none of the hub's
    if not trigger.cron:
        if is_late and trigger.catch_up == Trigger.CatchUp.SKIP:
            return _Plan(due, None, Firing.Outcome.MISSED, "The hub was away at its time.")
        return _Plan(due, None)
    if not is_late or trigger.catch_up == Trigger.CatchUp.ALL:
        return _Plan(due, next_after(trigger.cron, trigger.timezone, due))
    count, last, following = missed_until(trigger.cron, trigger.timezone, due, now)
    detail = f"The hub was away at {count} of its times."
    if trigger.catch_up == Trigger.CatchUp.SKIP:
        return _Plan(last, following, Firing.Outcome.MISSED, detail)
    return _Plan(last, following, detail=detail)


def _fire(trigger: Trigger, firing: Firing) -> None:
    """Send, or start. Raises ``HubError``, with nothing done."""
    owner = _owner(trigger)
    if trigger.agent_id is None:
        require(owner, Can.SEND_MESSAGE, trigger.project_id)
        address = Address(trigger.owner_kind, trigger.owner_id)
        to = resolve(trigger.project_id, trigger.to, sender=address)
        made = draft(
            trigger.project_id, address, to.addresses, json.loads(trigger.payload), subject=trigger.subject,
            kind="trigger", audience=to.audience, run_id=trigger.run_id,
            dedupe_key=f"trigger:{trigger.pk}:{firing.due_at.isoformat()}",
        )  # fmt: skip
        firing.message_id = post_bounded(made).message_id
        return
    last = trigger.last_run
    if last is not None and last.state not in ENDED and trigger.overlap == Trigger.Overlap.SKIP:
        firing.outcome, firing.detail = Firing.Outcome.SKIPPED, f"Its last run {last.pk} is not over."
        return
    agent = Agent.objects.select_related("project", "node").get(pk=trigger.agent_id)
    trigger.last_run = start_run(agent, by=owner, prompt=trigger.prompt)
    firing.run_id = trigger.last_run.pk


def _owner(trigger: Trigger) -> Actor:
    """Whoever set it, with what they may do now, come in by ``trigger``. Raises ``Forbidden`` once they are gone.

    What was set with a token may no more than the token, and ends with it.
    """
    if trigger.token_id is not None:
        token = Token.objects.select_related("user").filter(pk=trigger.token_id).first()
        if token is None or not token.is_valid(timezone.now()) or (token.user and not token.user.is_active):
            raise Forbidden("The token with which it was set is no longer valid. Set it again.")
        return replace(actor_of_token(token), entry=Entry.TRIGGER)
    if trigger.owner_kind == "agent":
        agent = Agent.objects.filter(pk=trigger.owner_id, archived_at=None).select_related("project").first()
        if agent is not None:
            return replace(actor_of_agent(agent), entry=Entry.TRIGGER)
    else:
        user = User.objects.filter(pk=trigger.owner_id, is_active=True).first()
        if user is not None:
            return actor_of(user, entry=Entry.TRIGGER)
    raise Forbidden(f"{trigger.owner_label or 'Its owner'} is no longer there to act for.")


def _settle(trigger: Trigger, firing: Firing, following: datetime | None) -> None:
    """Wait for the next time, or be done; with the entry in the history."""
    trigger.next_at, trigger.retry_at, trigger.attempts = following, None, 0
    trigger.last_error = ""
    if following is None:
        trigger.state = Trigger.State.DONE
    trigger.save(update_fields=["next_at", "retry_at", "attempts", "state", "last_error", "last_run"])
    _keep(firing)


def _keep(firing: Firing) -> None:
    firing.save(force_insert=True)
    old = Firing.objects.filter(trigger=firing.trigger_id).order_by("-id").values_list("pk", flat=True)[KEPT : KEPT + 1]
    for pk in list(old):
        Firing.objects.filter(trigger=firing.trigger_id, pk__lte=pk).delete()


def _note_failure(pk: UUID, now: datetime, error: str) -> None:
    """Try again after a pause; after the last attempt go on to the next time, or give up.

    With ``catch_up`` of all the next time may have passed as well; otherwise such times are missed.
    """
    with transaction.atomic():
        trigger = _claim(pk, now)
        if trigger is None or trigger.next_at is None:
            return
        trigger.attempts += 1
        trigger.last_error = error[:200]
        if trigger.attempts < ATTEMPTS:
            trigger.retry_at = now + RETRY * 2 ** (trigger.attempts - 1)
            trigger.save(update_fields=["attempts", "last_error", "retry_at"])
            return
        _keep(
            Firing(trigger=trigger, due_at=trigger.next_at, at=now, outcome=Firing.Outcome.FAILED, detail=error[:200])
        )
        trigger.next_at = _go_on(trigger, trigger.next_at, now)
        if trigger.next_at is None:
            trigger.state = Trigger.State.FAILED
            record(
                trigger.project_id, "trigger.failed", by=SYSTEM, of=("trigger", trigger.pk), trigger=trigger.name,
                error=trigger.last_error,
            )  # fmt: skip
        trigger.attempts, trigger.retry_at = 0, None
        trigger.save(update_fields=["attempts", "last_error", "retry_at", "next_at", "state"])
        logger.warning("trigger.failed", trigger=str(pk), error=error)


def _go_on(trigger: Trigger, failed: datetime, now: datetime) -> datetime | None:
    """For which time a trigger waits after one that failed; None if for none. What it passes over is in its history."""
    if not trigger.cron or _fails_always(trigger):
        return None
    try:
        if trigger.catch_up == Trigger.CatchUp.ALL:
            return next_after(trigger.cron, trigger.timezone, failed)
        count, last, following = missed_until(trigger.cron, trigger.timezone, failed, now)
    except HubError:  # its time zone is gone, or its schedule no longer understood
        return None
    if count > 1:
        detail = f"{count - 1} of its times passed while the one before was tried."
        _keep(Firing(trigger=trigger, due_at=last, at=now, outcome=Firing.Outcome.MISSED, detail=detail))
    return following


def _fails_always(trigger: Trigger) -> bool:
    tried = trigger.firings.exclude(outcome=Firing.Outcome.MISSED).order_by("-id")
    last = list(tried.values_list("outcome", flat=True)[:FAILURES])
    return len(last) == FAILURES and set(last) == {Firing.Outcome.FAILED}
