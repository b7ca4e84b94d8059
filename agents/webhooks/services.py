"""Make, change and remove webhooks. Their secrets are told once, when they are made."""

import re
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agenthub_site.accounts.hub_secrets import forget_secrets, keep_secret, move_secret
from agenthub_site.accounts.models import Project
from agenthub_site.accounts.permissions import Can, require
from audit.services import record
from mailboxes.services import give_up
from nodes.contract.errors import Conflict, Invalid

from .models import Webhook
from .places import check_url
from .signing import new_secret

MOST: Final = 50
"""Webhooks of a project."""
OVERLAP: Final = timedelta(hours=24)
"""For so long after a rotation deliveries are signed with both secrets."""
REMOVED: Final = "Its webhook was removed."
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class WebhookExists(Conflict):
    code = "webhook_exists"


class TooManyWebhooks(Conflict):
    code, grpc = "too_many_webhooks", "RESOURCE_EXHAUSTED"
    message = f"A project has at most {MOST} webhooks. Remove some."


@transaction.atomic
def add_webhook(project: Project, *, name: str, url: str, by: Actor) -> tuple[Webhook, str]:
    """A webhook, and its secret, which is told to nobody again. Raises ``Invalid``, ``WebhookExists``."""
    require(by, Can.MANAGE_WEBHOOKS, project.pk)
    if not _NAME.fullmatch(name):
        why = "A webhook's name has a-z, 0-9, _ . and -, up to 64, and begins with a letter or a digit."
        raise Invalid(why, fields={"name": [why]})
    check_url(url, settings.CONFIG.webhooks.allow)
    if Webhook.objects.filter(project=project).count() >= MOST:
        raise TooManyWebhooks(limit=MOST)
    webhook, secret = Webhook(project=project, name=name, url=url), new_secret()
    keep_secret(webhook.secret_name, secret, by)
    try:
        with transaction.atomic():
            webhook.save(force_insert=True)
    except IntegrityError:
        raise WebhookExists(f"This project has a webhook {name!r} already.", name=name) from None
    _record(webhook, "created", by, host=urlsplit(url).hostname)
    return webhook, secret


@transaction.atomic
def change_webhook(webhook: Webhook, *, by: Actor, url: str | None = None, is_enabled: bool | None = None) -> Webhook:
    """Lead it elsewhere, switch it off, or on again: what waits is posted then. Raises ``Invalid``."""
    require(by, Can.MANAGE_WEBHOOKS, webhook.project_id)
    changes: dict[str, Any] = {}
    if url is not None:
        check_url(url, settings.CONFIG.webhooks.allow)
        changes["url"] = url
    if is_enabled is not None:
        changes["is_enabled"] = is_enabled
    if changes:
        Webhook.objects.filter(pk=webhook.pk).update(**changes, failures=0, not_before=None)
        webhook.refresh_from_db()
        _record(webhook, "changed", by, host=urlsplit(webhook.url).hostname, is_enabled=webhook.is_enabled)
    return webhook


@transaction.atomic
def rotate_webhook_secret(webhook: Webhook, *, by: Actor) -> str:
    """A new secret, told to nobody again; for a day deliveries are signed with the former one as well."""
    require(by, Can.MANAGE_WEBHOOKS, webhook.project_id)
    secret = new_secret()
    move_secret(webhook.secret_name, webhook.former_secret_name, by)
    keep_secret(webhook.secret_name, secret, by)
    Webhook.objects.filter(pk=webhook.pk).update(former_until=timezone.now() + OVERLAP)
    _record(webhook, "secret_rotated", by)
    return secret


@transaction.atomic
def remove_webhook(webhook: Webhook, *, by: Actor) -> None:
    """Nothing is posted to it any more; what waited is dead."""
    require(by, Can.MANAGE_WEBHOOKS, webhook.project_id)
    forget_secrets([webhook.secret_name, webhook.former_secret_name])
    given_up = give_up(webhook.address, REMOVED)
    Webhook.objects.filter(pk=webhook.pk).delete()
    _record(webhook, "removed", by, given_up=given_up)


def _record(webhook: Webhook, what: str, by: Actor, **data: Any) -> None:
    record(webhook.project_id, f"webhook.{what}", by=by, of=("webhook", webhook.pk), webhook=webhook.name, **data)
