"""The sealer: everything once, in order, whoever dies in the middle, and never by changing an event."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from audit import sealer
from audit.models import AuditCheckpoint, AuditEvent, AuditKey, Lease
from audit.proof.keys import PRIVATE
from audit.proof.witness import FILE
from audit.sealer import Sealer
from audit.services import record
from nodes.contract.errors import HubError
from nodes.contract.ids import new_id
from tests.audit.trails import check, covers, unprotected, write
from tests.support import eventually


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.mark.django_db
def test_every_event_is_sealed_once_and_each_checkpoint_is_bounded(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer, "AT_ONCE", 4)
    monkeypatch.setattr(sealer, "PER_TICK", 10)
    write(project := new_id(), 17)
    one = Sealer(directory)
    assert [one.tick(timezone.now()) for _ in range(3)] == [10, 8, 0]  # one says that there is a key
    ends = AuditCheckpoint.objects.filter(stream=f"project:{project}").order_by("serial").values_list("first", "last")
    assert [*ends] == [(1, 4), (5, 8), (9, 10), (11, 14), (15, 17)]


@pytest.mark.django_db
def test_the_key_is_the_owners_alone_and_its_public_half_is_offered(directory: Path) -> None:
    write(None, 1)
    Sealer(directory).tick(timezone.now())
    assert (directory / PRIVATE).stat().st_mode & 0o777 == 0o600
    assert AuditKey.objects.get().key == AuditCheckpoint.objects.get(last=1).key


@pytest.mark.django_db
def test_while_another_holds_the_lease_nothing_is_sealed(directory: Path) -> None:
    one, other = Sealer(directory), Sealer(directory)
    write(None, 1)
    assert one.tick(timezone.now()) == 1
    write(None, 1)
    assert other.tick(timezone.now()) == 0
    Lease.objects.update(expires_at=None)
    assert other.tick(timezone.now()) == 2
    assert one.tick(timezone.now()) == 0
    assert check(directory).is_whole


@pytest.mark.django_db
def test_an_event_that_is_gone_before_it_is_sealed_holds_nothing_up_and_is_missed(directory: Path) -> None:
    write(project := new_id(), 5)
    with unprotected():
        AuditEvent.objects.get(number=3, project=project).delete()
    assert Sealer(directory).tick(timezone.now()) == 5
    assert covers(check(directory), f"project:{project}", 3, "missing")


@pytest.mark.django_db(transaction=True)
def test_a_sealer_that_dies_before_its_checkpoint_is_stored_loses_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(None, 3)
    one = Sealer(directory)
    with monkeypatch.context() as patch:
        patch.setattr(sealer, "add_checkpoints", _die)
        with pytest.raises(KeyboardInterrupt):
            one.tick(timezone.now())
    assert not AuditCheckpoint.objects.exists() and not AuditKey.objects.exists()
    one.tick(timezone.now())
    assert check(directory).is_whole


@pytest.mark.django_db(transaction=True)
def test_a_sealer_that_dies_before_it_wrote_the_file_catches_up(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(None, 3)
    with monkeypatch.context() as patch:
        patch.setattr(sealer, "append_checkpoint", _die)
        with pytest.raises(KeyboardInterrupt):
            Sealer(directory, "one").tick(timezone.now())
    (directory / FILE).write_text('{"serial": 1, "str')  # torn by the crash
    Sealer(directory, "one").tick(timezone.now())
    report = check(directory)
    assert report.is_whole and report.witnessed == 1


@pytest.mark.django_db(transaction=True)
def test_two_sealers_and_writers_at_once_make_one_chain(directory: Path) -> None:
    projects, stop, failures = [new_id(), new_id()], threading.Event(), list[Exception]()

    def work(act: Callable[[], None]) -> None:
        try:
            act()
        except (DatabaseError, HubError) as error:
            failures.append(error)
        finally:
            connection.close()

    def write_many() -> None:
        for n in range(15):
            with transaction.atomic():
                record(projects[n % 2], "thing.happened", by=SYSTEM, run=new_id())

    def seal() -> None:
        one = Sealer(directory)
        while not stop.is_set():
            one.tick(timezone.now())
            Lease.objects.update(expires_at=None)  # so that they take turns, and meet

    sealers = [threading.Thread(target=work, args=[seal]) for _ in range(2)]
    writers = [threading.Thread(target=work, args=[write_many]) for _ in range(3)]
    for thread in (*sealers, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    eventually(lambda: not check(directory, with_file=False).unsealed)
    stop.set()
    for thread in sealers:
        thread.join(60)
    assert failures == []
    report = check(directory)
    assert report.is_whole and AuditEvent.objects.exclude(project=None).count() == 45


@pytest.mark.django_db
def test_checkpoints_and_keys_are_as_protected_as_events(directory: Path) -> None:
    write(None, 1)
    Sealer(directory).tick(timezone.now())
    for table, column in (("audit_auditcheckpoint", "signature"), ("audit_auditkey", "public")):
        for statement in (f"UPDATE {table} SET {column} = ''", f"DELETE FROM {table}"):
            refused = pytest.raises(IntegrityError, match="never changed")
            with refused, transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)


def _die(*_: object) -> None:
    raise KeyboardInterrupt
