"""The hub's own secrets that must be read again: kept encrypted, set and deleted by root, told to nobody.

Whoever sets one reads the keys while it holds the lock, and so does whoever replaces a key: no secret is ever
written with a key that is being dropped.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from audit.services import record
from nodes.contract.errors import Invalid, NotFound

from .actors import SYSTEM, Actor
from .errors import SecretUnreadable
from .models import HubSecret
from .permissions import Can, require
from .secret_keys import FILE, Key, ensure_keys, find_keys, keep_in_file

KNOWN: Final = {
    "oidc.client_secret": "proves this hub to the identity provider",
    "feishu.app_secret": "proves this hub to Feishu",
    "feishu.encrypt_key": "decrypts what Feishu sends",
    "feishu.verification_token": "shows that a request is Feishu's",
}
"""What the hub reads, and what for. Beside it: ``webhook.NAME``, which signs what is sent to a webhook."""
PREFIXES: Final = ("webhook.",)
VALUE_CHARS: Final = 16 * 1024
USED_EVERY: Final = timedelta(hours=1)
"""So often at most the trail says that a secret was used."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_LOCK: Final = 0x41485345  # an advisory lock's number is its name


@dataclass(frozen=True, slots=True)
class Rotated:
    """``key_id`` encrypts everything now; ``re_encrypted`` secrets did not before; ``unreadable`` still do not."""

    key_id: str
    re_encrypted: int
    unreadable: tuple[str, ...]
    is_in_file: bool


def read_secret(name: str, *, by: Actor = SYSTEM) -> str | None:
    """The secret, to use it now and keep it nowhere; None if it is not set. Its use is audited, hourly at most.

    ``SecretUnreadable`` if its key is lost, or somebody changed what is stored.
    """
    secret = HubSecret.objects.filter(name=name).first()
    key = _find(secret.key_id) if secret else None
    if secret is not None and key is None:  # perhaps it was dropped between our look at the secret and that at the keys
        secret = HubSecret.objects.filter(name=name).first()
        key = _find(secret.key_id) if secret else None
    if secret is None:
        return None
    value = _decrypted(secret, key)
    _note_use(secret, by)
    return value


def set_secret(name: str, value: str, by: Actor) -> HubSecret:
    """Keep a secret, in place of what it was. ``Invalid`` for a name that nothing in the hub reads."""
    require(by, Can.MANAGE_SECRETS)
    _check_name(name)
    if not value or len(value) > VALUE_CHARS or "\0" in value:
        raise Invalid(fields={"value": [f"A secret has 1 to {VALUE_CHARS} characters, and no NUL among them."]})
    with transaction.atomic():
        _lock()
        key = ensure_keys(settings.CONFIG).current
        stored = {"ciphertext": key.encrypt(name, value), "key_id": key.id}
        secret, is_new = HubSecret.objects.update_or_create(
            name=name, defaults={**stored, "set_at": timezone.now(), "set_by": by.label[:150] or by.kind.value}
        )
        record(None, "secret.set", by=by, of=("secret", name), key_id=key.id, is_new=is_new)
    return secret


def delete_secret(name: str, by: Actor) -> None:
    """Forget a secret: what needs it says that it is missing. ``NotFound`` if it is not set."""
    require(by, Can.MANAGE_SECRETS)
    with transaction.atomic():
        _lock()
        if not HubSecret.objects.filter(name=name).delete()[0]:
            raise NotFound(f"There is no secret named {name}.")
        record(None, "secret.deleted", by=by, of=("secret", name))


def keep_secret(name: str, value: str, by: Actor) -> None:
    """Keep what the hub made for something else, in place of what it was; its owner asks who may, and records it.

    Within a transaction.
    """
    _check_name(name)
    _lock()
    key = ensure_keys(settings.CONFIG).current
    stored = {"ciphertext": key.encrypt(name, value), "key_id": key.id}
    set_by = by.label[:150] or by.kind.value
    HubSecret.objects.update_or_create(name=name, defaults={**stored, "set_at": timezone.now(), "set_by": set_by})


def move_secret(name: str, to: str, by: Actor) -> None:
    """As ``keep_secret``, with what is kept under another name; nothing, if that is nothing or cannot be read."""
    _lock()
    secret = HubSecret.objects.filter(name=name).first()
    key = _find(secret.key_id) if secret else None
    value = key.decrypt(name, bytes(secret.ciphertext)) if secret and key else None
    forget_secrets([name])
    if value is not None:
        keep_secret(to, value, by)


def forget_secrets(names: Sequence[str]) -> None:
    """As ``keep_secret``: whoever calls asks who may."""
    _lock()
    HubSecret.objects.filter(name__in=names).delete()


def rotate_key(by: Actor) -> Rotated:
    """Encrypt everything with a new key, made now, or with the one of the settings if they hold one.

    A crash at any point leaves every secret readable, and the next call completes it. Keys in the file that
    nothing needs any more are dropped; one that an unreadable secret might need is not.
    """
    require(by, Can.MANAGE_SECRETS)
    config = settings.CONFIG
    with transaction.atomic(durable=True):  # else the former key would be dropped before the commit
        _lock()
        keys = ensure_keys(config)
        if keys.is_in_file:
            keep_in_file(config, [Key.new(), *keys.all])  # first of all on the disk: nothing is written with it before
        keys = ensure_keys(config)
        current, done, unreadable = keys.current, 0, []
        for secret in HubSecret.objects.exclude(key_id=current.id).order_by("id"):
            key = keys.find(secret.key_id)
            value = key.decrypt(secret.name, bytes(secret.ciphertext)) if key else None
            if value is None:
                unreadable.append(secret.name)
                continue
            secret.ciphertext, secret.key_id = current.encrypt(secret.name, value), current.id
            secret.save(update_fields=["ciphertext", "key_id"])
            done += 1
        record(
            None, "secret.key_rotated", by=by, of=("secret_key", current.id),
            re_encrypted=done, unreadable=sorted(unreadable),
        )  # fmt: skip
    if keys.is_in_file:
        _drop_unneeded_keys()
    return Rotated(current.id, done, tuple(sorted(unreadable)), keys.is_in_file)


def _drop_unneeded_keys() -> None:
    """Once what is encrypted with the new key is committed."""
    with transaction.atomic():
        _lock()
        keys = find_keys(settings.CONFIG)
        if keys is not None and keys.is_in_file:
            needed = set(HubSecret.objects.values_list("key_id", flat=True)) | {keys.current.id}
            keep_in_file(settings.CONFIG, [key for key in keys.all if key.id in needed])


def _find(key_id: str) -> Key | None:
    keys = find_keys(settings.CONFIG)
    return keys.find(key_id) if keys else None


def _decrypted(secret: HubSecret, key: Key | None) -> str:
    if key is None:
        raise SecretUnreadable(
            f"The secret {secret.name} is encrypted with the key {secret.key_id}, which this hub does not have. "
            f"Restore {settings.CONFIG.home / FILE} from a backup, or name the key in AGENTHUB_SECRETS__PREVIOUS_KEYS; "
            f"else set the secret anew: agenthub secret set {secret.name}",
            name=secret.name,
            key_id=secret.key_id,
        )
    value = key.decrypt(secret.name, bytes(secret.ciphertext))
    if value is None:
        raise SecretUnreadable(
            f"What is stored as the secret {secret.name} was changed by somebody else. Set it anew: "
            f"agenthub secret set {secret.name}",
            name=secret.name,
            key_id=secret.key_id,
        )
    return value


def _note_use(secret: HubSecret, by: Actor) -> None:
    now = timezone.now()
    if secret.last_used_at is not None and secret.last_used_at > now - USED_EVERY:
        return
    rarely = Q(last_used_at=None) | Q(last_used_at__lte=now - USED_EVERY)
    with transaction.atomic():
        if HubSecret.objects.filter(rarely, pk=secret.pk).update(last_used_at=now):
            record(None, "secret.used", by=by, of=("secret", secret.name))


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) and (name in KNOWN or any(name.startswith(p) and name != p for p in PREFIXES)):
        return
    close = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.6)
    hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(KNOWN)} and webhook.NAME."
    raise Invalid(f"Nothing in this hub reads a secret of that name. {hint}", fields={"name": [hint]})


def _lock() -> None:
    """Who writes secrets, or drops keys, takes turns to the end of the transaction. SQLite's writers do anyhow."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
