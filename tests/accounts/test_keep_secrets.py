"""The hub's own secrets: encrypted at rest, readable again, and their key replaced without losing one."""

import base64
import os
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from pytest_django.fixtures import Settings

from agenthub_site.accounts import hub_secrets
from agenthub_site.accounts.actors import SYSTEM, Actor
from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.errors import SecretKeyUnusable, SecretUnreadable
from agenthub_site.accounts.hub_secrets import delete_secret, read_secret, rotate_key, set_secret
from agenthub_site.accounts.models import HubSecret, User
from agenthub_site.accounts.secret_keys import FILE, Key, Keys
from audit.models import AuditEvent
from nodes.contract.config import SecretsConfig
from nodes.contract.errors import Forbidden, Invalid, NotFound

NAME = "oidc.client_secret"
VALUE = "s3cr3t-of-the-provider"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def key_file(home: Path, settings: Settings) -> Path:
    """A home of its own, without a key so far."""
    settings.CONFIG = django_settings.CONFIG.model_copy(update={"home": home})
    return home / FILE


def configure(settings: Settings, key: str, *previous: str) -> None:
    given = SecretsConfig.model_validate({"key": key, "previous_keys": list(previous)})
    settings.CONFIG = settings.CONFIG.model_copy(update={"secrets": given})


def trail(name: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(name=name))


def test_a_secret_is_read_again_and_nothing_stored_holds_it(key_file: Path) -> None:
    set_secret(NAME, VALUE, SYSTEM)
    assert read_secret(NAME) == VALUE
    stored = HubSecret.objects.get()
    assert VALUE.encode() not in bytes(stored.ciphertext)
    assert VALUE not in repr(list(AuditEvent.objects.values()))
    assert key_file.stat().st_mode & 0o777 == 0o600


def test_what_is_not_set_is_none() -> None:
    assert read_secret(NAME) is None


def test_setting_it_again_replaces_it() -> None:
    set_secret(NAME, "first-value", SYSTEM)
    set_secret(NAME, VALUE, SYSTEM)
    assert read_secret(NAME) == VALUE
    assert [event.data["is_new"] for event in trail("secret.set")] == [True, False]


def test_a_deleted_secret_is_gone_and_deleting_it_again_says_so() -> None:
    set_secret(NAME, VALUE, SYSTEM)
    delete_secret(NAME, SYSTEM)
    assert read_secret(NAME) is None and len(trail("secret.deleted")) == 1
    with pytest.raises(NotFound):
        delete_secret(NAME, SYSTEM)


def test_only_root_sets_and_deletes(alice: User, root: User) -> None:
    set_secret(NAME, VALUE, actor_of(root))
    for refused in (
        lambda by: set_secret(NAME, "x" * 8, by),
        lambda by: delete_secret(NAME, by),
        rotate_key,
    ):
        with pytest.raises(Forbidden):
            refused(actor_of(alice))
    assert read_secret(NAME) == VALUE


@pytest.mark.parametrize(
    "name", ["oidc.client_secert", "OIDC.client_secret", "webhook.", "../x", "oidc.client_secret\n"]
)
def test_a_name_that_nothing_reads_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        set_secret(name, VALUE, SYSTEM)


@pytest.mark.parametrize("value", ["", "a\0b", "x" * (hub_secrets.VALUE_CHARS + 1)])
def test_what_cannot_be_a_secret_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(Invalid) as refused:
        set_secret("webhook.build", value, SYSTEM)
    assert "xxxx" not in refused.value.text + repr(refused.value.data)


def test_uses_are_audited_but_not_each_of_many() -> None:
    set_secret(NAME, VALUE, SYSTEM)
    for _ in range(5):
        read_secret(NAME)
    assert [event.object_id for event in trail("secret.used")] == [NAME]
    HubSecret.objects.update(last_used_at=timezone.now() - hub_secrets.USED_EVERY)
    read_secret(NAME)
    assert len(trail("secret.used")) == 2


def test_a_ciphertext_moved_to_another_name_is_not_read() -> None:
    set_secret(NAME, VALUE, SYSTEM)
    set_secret("webhook.mine", "x" * 8, SYSTEM)
    moved = HubSecret.objects.get(name=NAME)
    HubSecret.objects.filter(name="webhook.mine").update(ciphertext=bytes(moved.ciphertext))
    with pytest.raises(SecretUnreadable, match="changed by somebody"):
        read_secret("webhook.mine")


def test_a_lost_key_is_said_with_the_remedy_and_the_secret_can_be_set_anew(key_file: Path) -> None:
    set_secret(NAME, VALUE, SYSTEM)
    key_file.unlink()
    with pytest.raises(SecretUnreadable, match=f"agenthub secret set {NAME}") as refused:
        read_secret(NAME)
    assert refused.value.code == "secret_unreadable"
    set_secret(NAME, "another-one", SYSTEM)
    assert read_secret(NAME) == "another-one"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_that_others_can_read_is_not_used(key_file: Path, mode: int) -> None:
    set_secret(NAME, VALUE, SYSTEM)
    key_file.chmod(mode)
    with pytest.raises(SecretKeyUnusable, match="chmod 600"):
        read_secret(NAME)
    with pytest.raises(SecretKeyUnusable):
        set_secret(NAME, VALUE, SYSTEM)


def test_a_key_file_that_is_a_link_or_nonsense_is_not_used(key_file: Path) -> None:
    elsewhere = key_file.with_name("elsewhere")
    elsewhere.write_text(Key.new().text)
    elsewhere.chmod(0o600)
    key_file.symlink_to(elsewhere)
    with pytest.raises(SecretKeyUnusable):
        set_secret(NAME, VALUE, SYSTEM)
    elsewhere.write_text("not a key")
    elsewhere.rename(key_file)
    with pytest.raises(SecretKeyUnusable):
        set_secret(NAME, VALUE, SYSTEM)


def test_the_first_key_of_two_at_once_is_everybodys(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Key.new()
    made = Key.new

    def late() -> Key:
        key_file.write_text(first.text)
        key_file.chmod(0o600)
        return made()

    monkeypatch.setattr(Key, "new", late)
    set_secret(NAME, VALUE, SYSTEM)
    assert HubSecret.objects.get().key_id == first.id


def test_a_new_key_encrypts_everything_and_the_old_one_is_dropped(key_file: Path) -> None:
    set_secret(NAME, VALUE, SYSTEM)
    set_secret("webhook.build", "w" * 20, SYSTEM)
    before = key_file.read_text()
    rotated = rotate_key(SYSTEM)
    assert (rotated.re_encrypted, rotated.unreadable) == (2, ())
    assert (read_secret(NAME), read_secret("webhook.build")) == (VALUE, "w" * 20)
    assert before.strip() not in key_file.read_text() and len(key_file.read_text().split()) == 1
    assert trail("secret.key_rotated")[0].object_id == rotated.key_id


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("crash_at", ["keep_in_file", "record", "_drop_unneeded_keys"])
def test_a_crash_while_the_key_is_replaced_loses_nothing(
    key_file: Path, monkeypatch: pytest.MonkeyPatch, crash_at: str
) -> None:
    set_secret(NAME, VALUE, SYSTEM)

    def crash(*_given: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(hub_secrets, crash_at, crash)
        with pytest.raises(KeyboardInterrupt):
            rotate_key(SYSTEM)
    assert read_secret(NAME) == VALUE
    rotate_key(SYSTEM)
    assert read_secret(NAME) == VALUE and len(key_file.read_text().split()) == 1


def test_the_key_of_an_unreadable_secret_is_not_dropped(key_file: Path) -> None:
    set_secret(NAME, VALUE, SYSTEM)
    HubSecret.objects.update(ciphertext=b"x" * 40)
    before = key_file.read_text()
    assert rotate_key(SYSTEM).unreadable == (NAME,)
    assert before.strip() in key_file.read_text()


def test_a_hub_goes_over_from_the_file_to_a_configured_key(settings: Settings, key_file: Path) -> None:
    set_secret(NAME, VALUE, SYSTEM)
    configured = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    configure(settings, configured)
    assert read_secret(NAME) == VALUE
    rotated = rotate_key(SYSTEM)
    assert (rotated.key_id, rotated.is_in_file) == (Key.of(configured).id, False)
    key_file.unlink()
    assert read_secret(NAME) == VALUE


def test_a_configured_key_is_replaced_by_the_next(settings: Settings) -> None:
    old, new = Key.new().text, Key.new().text
    configure(settings, old)
    set_secret(NAME, VALUE, SYSTEM)
    configure(settings, new, old)
    assert read_secret(NAME) == VALUE and rotate_key(SYSTEM).re_encrypted == 1
    configure(settings, new)
    assert read_secret(NAME) == VALUE


def test_a_key_dropped_between_two_looks_is_no_lost_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader has seen the secret; before it looks at the keys, they are replaced."""
    set_secret(NAME, VALUE, SYSTEM)
    find = hub_secrets._find
    looks: list[str] = []

    def late(key_id: str) -> Key | None:
        looks.append(key_id)
        if len(looks) == 1:
            rotate_key(SYSTEM)
        return find(key_id)

    monkeypatch.setattr(hub_secrets, "_find", late)
    assert read_secret(NAME) == VALUE and len(looks) == 2


def test_a_key_is_never_shown() -> None:
    key = Key.new()
    assert key.text not in repr(Keys((key,), is_in_file=True)) and key.text[:8] not in repr(key)


def test_an_actor_who_uses_it_is_named(root: User) -> None:
    by: Actor = actor_of(root)
    set_secret(NAME, VALUE, by)
    assert HubSecret.objects.get().set_by == "root"
    read_secret(NAME, by=by)
    assert trail("secret.used")[0].actor_id == by.id
