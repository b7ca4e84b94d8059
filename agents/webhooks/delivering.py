"""Posting what is in webhooks' inboxes: a loop asks a worker, which posts to several webhooks side by side.

A delivery is leased while it is posted, so a worker that dies loses nothing: it is posted again, under the same
``webhook-id``.
"""

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from time import monotonic, time
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone
from django_q.tasks import async_task

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.errors import SecretUnreadable
from agenthub_site.accounts.hub_secrets import read_secret
from audit.services import record
from mailboxes.addresses import Address
from mailboxes.models import Delivery, Inbox
from mailboxes.reading import Mail
from mailboxes.services import ack, give_back_mail, give_up, receive
from mailboxes.states import State
from nodes.contract.errors import Invalid

from ..mail.addressing import names_of
from ..mail.shapes import show_address
from .models import Webhook
from .places import PlaceRefused
from .posting import Answer, post
from .services import REMOVED
from .signing import signed_headers

logger = structlog.get_logger(__name__)

AT_ONCE: Final = 100
"""Webhooks of which one tick asks."""
SIDE_BY_SIDE: Final = 16
"""Webhooks of one task, each posted to by a thread of its own."""
ASKED_SECONDS: Final = 150
"""After this long a worker that was asked is taken for dead, and another is asked."""
TASK_SECONDS: Final = 20.0
"""A task begins no further delivery after this; the next tick asks again."""
LEASE_SECONDS: Final = 60.0
GONE: Final = 410
"""What else is no 2xx, and may not pass, is dead at once."""
FIRST_SECONDS, TIMES, MOST_SECONDS = 10.0, 4, 3_600.0
"""A delivery's pauses: 10 s, 40 s, 160 s …, up to an hour; with ``mailboxes.limits.ATTEMPTS`` some three hours."""
REST_MOST_SECONDS: Final = 60.0
"""A webhook that failed is left alone for 2 s, 4 s …, up to this, so that what waits behind is tried as well."""


def tick(now: datetime) -> int:
    """Ask a worker for each webhook for which something is due. How many were asked for.

    Those that work come first, and of those that fail as many are asked at a time as are posted to side by side: so
    dead addresses, however many, are never more than one task ahead of the others.
    """
    due = Delivery.objects.filter(inbox=OuterRef("pk"), settled_at=None, state=State.QUEUED, due_at__lte=now)
    owners = set(Inbox.objects.filter(Exists(due), kind="webhook").values_list("owner", flat=True))
    if not owners:
        return 0
    owners -= _give_up_gone(owners)
    taken_for_dead = now - timedelta(seconds=ASKED_SECONDS)
    idle = Q(asked_at=None) | Q(asked_at__lte=taken_for_dead)
    rested = Q(not_before=None) | Q(not_before__lte=now)
    ready = Webhook.objects.filter(idle, rested, is_enabled=True).order_by(F("last_at").asc(nulls_first=True), "pk")
    rows = [(str(pk), failures) for pk, failures in ready.values_list("pk", "failures") if str(pk) in owners]
    busy = Webhook.objects.filter(asked_at__gt=taken_for_dead, failures__gt=0).count()
    failing = [pk for pk, failures in rows if failures][: max(0, SIDE_BY_SIDE - busy)]
    working = [pk for pk, failures in rows if not failures][:AT_ONCE]
    parts = [working[start : start + SIDE_BY_SIDE] for start in range(0, len(working), SIDE_BY_SIDE)]
    return sum(_ask(part, idle, now) for part in (*parts, failing))


def _give_up_gone(owners: set[str]) -> set[str]:
    """Those whose webhook was removed: what came for them after that, or was on its way, is dead as well."""
    gone = owners - {str(pk) for pk in Webhook.objects.filter(pk__in=owners).values_list("pk", flat=True)}
    for owner in gone:
        with transaction.atomic():
            given_up = give_up(Address("webhook", owner), REMOVED)
        logger.info("webhook.inbox_given_up", webhook=owner, deliveries=given_up)
    return gone


def _ask(pks: Sequence[str], idle: Q, now: datetime) -> int:
    """One task for these webhooks, less those that another asked for meanwhile. How many are left."""
    with transaction.atomic():
        asked = [pk for pk in pks if Webhook.objects.filter(idle, pk=pk).update(asked_at=now)]
        if asked:
            async_task("agents.webhooks.delivering.deliver_all", asked, q_options={"save": False})
    return len(asked)


def deliver_all(pks: Sequence[str]) -> int:
    """The worker's task: ``deliver`` for each, side by side, so that a slow one delays no other."""
    with ThreadPoolExecutor(SIDE_BY_SIDE, "webhook") as threads:
        return sum(threads.map(_deliver_apart, pks))


def _deliver_apart(pk: str) -> int:
    """Whatever goes wrong with one, the others go on: what it leased comes again when its lease runs out."""
    try:
        return deliver(pk)
    except Exception:
        logger.exception("webhook.not_delivered", webhook=pk)
        return 0
    finally:
        connections.close_all()


def deliver(pk: str) -> int:
    """Post what is due, in order, until something fails or time is over. How many were taken."""
    taken, end = 0, monotonic() + TASK_SECONDS
    try:
        while monotonic() < end:
            webhook = Webhook.objects.filter(pk=pk, is_enabled=True).select_related("project").first()
            if webhook is None or (webhook.not_before and webhook.not_before > timezone.now()):
                break
            with transaction.atomic():
                mails = receive(webhook.address, limit=1, lease_seconds=LEASE_SECONDS)
            if not mails:
                break
            if not _deliver_one(webhook, mails[0]):
                break
            taken += 1
    finally:
        Webhook.objects.filter(pk=pk).update(asked_at=None)
    return taken


def _deliver_one(webhook: Webhook, mail: Mail) -> bool:
    """Post it and settle it; whether the next one may follow at once."""
    try:
        keys = _keys(webhook)
        body = json.dumps(_said(webhook, mail), ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"content-type": "application/json", "user-agent": "AgentHub-Webhook/1"}
        headers |= signed_headers(str(mail.message_id), int(time()), body, keys)
        answer = post(webhook.url, headers, body, settings.CONFIG.webhooks.allow)
    except (PlaceRefused, Invalid) as error:
        _give_up(webhook, mail, error.text)
        return True
    except SecretUnreadable as error:
        _try_later(webhook, mail, Answer(error=error.text))
        return False
    logger.info("webhook.posted", webhook=str(webhook.pk), message=str(mail.message_id), answer=str(answer))
    if 200 <= answer.status < 300:
        with transaction.atomic():
            ack(webhook.address, [mail.number])
            _note(webhook, str(answer), failures=0, not_before=None)
        return True
    if answer.may_pass:
        _try_later(webhook, mail, answer)
        return False
    _give_up(webhook, mail, f"It answered {answer.status}.", is_gone=answer.status == GONE)
    return answer.status != GONE


def _try_later(webhook: Webhook, mail: Mail, answer: Answer) -> None:
    """The delivery after its own pause, the webhook after a shorter one; neither before the other end wants it."""
    now = timezone.now()
    wanted = min(answer.retry_after or 0.0, MOST_SECONDS)
    pause = min(FIRST_SECONDS * TIMES ** (mail.attempts - 1), MOST_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311
    rest = min(2.0 ** min(webhook.failures + 1, 10), REST_MOST_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311
    reason = answer.error or f"It answered {answer.status}."
    with transaction.atomic():
        give_back_mail(mail, reason, now, due_at=now + timedelta(seconds=max(pause, wanted)))
        not_before = now + timedelta(seconds=max(rest, wanted))
        _note(webhook, str(answer), failures=F("failures") + 1, not_before=not_before)


def _give_up(webhook: Webhook, mail: Mail, reason: str, *, is_gone: bool = False) -> None:
    """It is dead; and the webhook is switched off, if the other end says that it is gone."""
    with transaction.atomic():
        give_back_mail(mail, reason, timezone.now(), is_final=True)
        off = Webhook.objects.filter(pk=webhook.pk, is_enabled=True).update(is_enabled=False) if is_gone else 0
        _note(webhook, reason, failures=0)
        if off:
            record(
                webhook.project_id, "webhook.disabled", by=SYSTEM, of=("webhook", webhook.pk), webhook=webhook.name,
                reason=reason,
            )  # fmt: skip


def _note(webhook: Webhook, result: str, **changes: Any) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(last_at=timezone.now(), last_result=result[:200], **changes)


def _keys(webhook: Webhook) -> list[str]:
    """The present secret, and the one before for as long as both count. Raises ``SecretUnreadable``."""
    present = read_secret(webhook.secret_name)
    if present is None:
        raise SecretUnreadable(f"The secret of webhook {webhook.name} is gone. Make a new one by rotating it.")
    is_overlap = webhook.former_until is not None and webhook.former_until > timezone.now()
    former = read_secret(webhook.former_secret_name) if is_overlap else None
    return [present, former] if former else [present]


def _said(webhook: Webhook, mail: Mail) -> dict[str, Any]:
    """What is posted."""
    return {
        "type": "message",
        "timestamp": mail.created_at.isoformat().replace("+00:00", "Z"),
        "data": {
            "message_id": str(mail.message_id),
            "number": mail.number,
            "project": webhook.project.slug,
            "run_id": str(mail.run_id) if mail.run_id else None,
            "from": show_address(mail.sender, names_of({mail.sender})),
            "to": {"kind": "webhook", "id": str(webhook.pk), "name": webhook.name},
            "subject": mail.subject,
            "kind": mail.kind,
            "payload": mail.payload,
            "reply_to": str(mail.reply_to) if mail.reply_to else None,
            "hop_count": mail.hop_count,
            "redelivered": mail.redelivered,
        },
    }
