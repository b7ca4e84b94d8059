"""A trail that nobody touched verifies; of one that somebody did, every place is found and named."""

import hashlib
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import transaction
from django.db.models import F, Max
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from audit import sealer
from audit.models import AuditCheckpoint, AuditEvent, Lease, Stream
from audit.proof.keys import rotate
from audit.proof.verify import CHECKPOINTS, Report
from audit.proof.witness import FILE
from audit.sealer import Sealer
from nodes.contract.ids import new_id
from tests.audit.trails import check, covers, places, unprotected, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def test_a_trail_that_nobody_touched_is_whole(directory: Path) -> None:
    project = new_id()
    write(project, 12, text="Grüße\u2028 \U0001f600", amount=1.5, whole=100.0, small=1e-7, large=1e20)
    write(None, 3)
    Sealer(directory).tick(timezone.now())
    write(project, 2)
    report = check(directory)
    assert places(report) == [] and report.is_whole
    assert report.streams[f"project:{project}"].sealed == 12
    assert (report.events, report.unsealed) == (18, 3)  # one of them says that the key is new
    assert report.witnessed == 1


def test_one_project_verifies_without_the_others(directory: Path) -> None:
    project = new_id()
    write(project, 3)
    write(None, 3)
    Sealer(directory).tick(timezone.now())
    report = check(directory, f"project:{project}")
    assert report.is_whole and list(report.streams) == [f"project:{project}"]


def test_a_former_key_is_trusted_through_the_one_it_vouched_for(directory: Path) -> None:
    one = Sealer(directory)
    write(None, 2)
    one.tick(timezone.now())
    rotate(directory)
    write(None, 2)
    one.tick(timezone.now())
    assert len(set(AuditCheckpoint.objects.values_list("key", flat=True))) == 2
    assert check(directory).is_whole


def test_a_database_put_back_to_an_older_state_is_noticed_and_said_in_the_trail(directory: Path) -> None:
    one = Sealer(directory)
    write(None, 2)
    one.tick(timezone.now())
    with unprotected():
        AuditCheckpoint.objects.all().delete()
        AuditEvent.objects.all().delete()
        Stream.objects.all().delete()
    write(None, 1)
    again = Sealer(directory, "restarted")
    Lease.objects.all().delete()
    again.tick(timezone.now())
    assert AuditEvent.objects.filter(name="audit.rewound").exists()
    assert "rewritten" in {found.what for found in check(directory).problems}
    assert len((directory / FILE).read_text().splitlines()) == 2


def test_triggers_that_were_taken_away_are_named(directory: Path) -> None:
    with unprotected():
        report = check(directory)
    assert report.unprotected and not report.is_whole


# Tampering: each takes a sealed trail and returns whether the report names the place.

Judge = Callable[[Report], bool]


def whats(report: Report) -> set[str]:
    return {found.what for found in report.problems}


COLUMNS: Final[dict[str, Callable[[AuditEvent], Any]]] = {
    "id": lambda event: new_id(),
    "name": lambda event: event.name + "x",
    "at": lambda event: event.at + timedelta(microseconds=1),
    "actor_kind": lambda event: "user",
    "actor_id": lambda event: "0",
    "actor_label": lambda event: event.actor_label + " ",
    "object_kind": lambda event: "",
    "object_id": lambda event: event.object_id + "0",
    "project": lambda event: new_id(),
    "node": lambda event: new_id(),
    "run": lambda event: None,
    "approval": lambda event: event.run,
    "artifact": lambda event: "f" * 64,
    "address": lambda event: "10.0.0.1",
    "user_agent": lambda event: "curl",
    "data": lambda event: {**event.data, "n": -1},
}  # fmt: skip


def change_a_column(pick: random.Random, event: AuditEvent) -> Judge:
    column = pick.choice([*COLUMNS])
    AuditEvent.objects.filter(pk=event.pk).update(**{column: COLUMNS[column](event)})
    return lambda report: places(report) == [(event.stream, event.number, event.number, "changed")]


def move_to_another_stream(pick: random.Random, event: AuditEvent) -> Judge:
    AuditEvent.objects.filter(pk=event.pk).update(stream="project:elsewhere")
    return lambda report: (
        covers(report, event.stream, event.number, "missing")
        and covers(report, "project:elsewhere", event.number, "inserted")
    )


def delete_some(pick: random.Random, event: AuditEvent) -> Judge:
    last = event.number + pick.randrange(4)
    gone = AuditEvent.objects.filter(stream=event.stream, number__range=(event.number, last))
    last = min(last, max(gone.values_list("number", flat=True)))
    gone.delete()
    return lambda report: places(report) == [(event.stream, event.number, last, "missing")]


def swap_two(pick: random.Random, event: AuditEvent) -> Judge:
    others = AuditEvent.objects.filter(stream=event.stream).exclude(pk=event.pk)
    other = pick.choice(list(others))
    for pk, number in ((other.pk, -1), (event.pk, other.number), (other.pk, event.number)):
        AuditEvent.objects.filter(pk=pk).update(number=number)
    return lambda report: all(covers(report, event.stream, n, "changed") for n in (event.number, other.number))


def insert_in_the_middle(pick: random.Random, event: AuditEvent) -> Judge:
    later = AuditEvent.objects.filter(stream=event.stream, number__gte=event.number)
    later.update(number=-F("number"))
    AuditEvent.objects.filter(stream=event.stream, number__lt=0).update(number=1 - F("number"))
    AuditEvent.objects.create(
        stream=event.stream, number=event.number, name="thing.invented", at=event.at, actor_kind="user", actor_id="1"
    )
    return lambda report: covers(report, event.stream, event.number, "changed")


def append_behind_the_counter(pick: random.Random, event: AuditEvent) -> Judge:
    number = Stream.objects.get(name=event.stream).last_number + 1 + pick.randrange(3)
    AuditEvent.objects.filter(pk=event.pk).update(number=number)
    return lambda report: (
        covers(report, event.stream, number, "inserted") and covers(report, event.stream, event.number, "missing")
    )


def cut_the_tail(pick: random.Random, event: AuditEvent) -> Judge:
    """With its checkpoints, and with the counter put back: nothing of the stream itself shows it."""
    seals = AuditCheckpoint.objects.filter(stream=event.stream, last__gte=event.number)
    first = min(seals.values_list("first", flat=True))
    serials = list(seals.values_list("serial", flat=True))
    seals.delete()
    AuditEvent.objects.filter(stream=event.stream, number__gte=first).delete()
    Stream.objects.filter(name=event.stream).update(last_number=first - 1)
    latest = AuditCheckpoint.objects.aggregate(end=Max("serial"))["end"] or 0
    return lambda report: (
        all(covers(report, CHECKPOINTS, serial, "missing") for serial in serials if serial < latest)
        and (max(serials) < latest or "rewritten" in whats(report))
    )


def remove_a_checkpoint(pick: random.Random, event: AuditEvent) -> Judge:
    seal = AuditCheckpoint.objects.get(stream=event.stream, first__lte=event.number, last__gte=event.number)
    is_last = not AuditCheckpoint.objects.filter(stream=event.stream, last__gt=seal.last).exists()
    is_newest = not AuditCheckpoint.objects.filter(serial__gt=seal.serial).exists()
    AuditCheckpoint.objects.filter(pk=seal.pk).delete()
    if is_newest:  # no later one says that it was there: the home's own record does
        return lambda report: covers(report, event.stream, event.number, "rewritten")
    return lambda report: (
        covers(report, CHECKPOINTS, seal.serial, "missing")
        and (is_last or covers(report, event.stream, event.number, "unsealed"))
    )


def put_an_old_checkpoint_in_the_place_of_a_new_one(pick: random.Random, event: AuditEvent) -> Judge:
    seals = AuditCheckpoint.objects.filter(stream=event.stream).order_by("-serial")
    new, old = seals[0], seals[seals.count() - 1]
    for field in ("at", "previous", "hash", "links", "parent", "key", "signature", "values_at"):
        setattr(new, field, getattr(old, field))
    new.save()
    return lambda report: new.serial == old.serial or covers(report, event.stream, new.first, "forged")


def change_an_event_and_its_checkpoint(pick: random.Random, event: AuditEvent) -> Judge:
    """All but the signature fits afterwards."""
    AuditEvent.objects.filter(pk=event.pk).update(actor_label="Mallory")
    seal = AuditCheckpoint.objects.get(stream=event.stream, first__lte=event.number, last__gte=event.number)
    head = sealer.Head(seal.first - 1, bytes.fromhex(seal.previous))
    draft = sealer.draft_of(event.stream, head, seal.last)
    AuditCheckpoint.objects.filter(pk=seal.pk).update(
        hash=draft.head.hash.hex(), values_at=draft.values, links=hashlib.sha256(draft.values).hexdigest()
    )
    return lambda report: covers(report, event.stream, event.number, "forged")


def change_the_chains_values(pick: random.Random, event: AuditEvent) -> Judge:
    seal = AuditCheckpoint.objects.get(stream=event.stream, first__lte=event.number, last__gte=event.number)
    values = bytearray(seal.values_at)
    values[pick.randrange(len(values))] ^= 1
    AuditCheckpoint.objects.filter(pk=seal.pk).update(values_at=bytes(values))
    return lambda report: places(report) == [(seal.stream, seal.first, seal.last, "values_changed")]


def seal_all_anew_with_another_key(pick: random.Random, event: AuditEvent) -> Judge:
    AuditEvent.objects.filter(pk=event.pk).update(actor_label="Mallory")
    AuditCheckpoint.objects.all().delete()
    Lease.objects.all().delete()
    Sealer(Path(f"/tmp/aht-mallory-{new_id().hex}")).tick(timezone.now())
    return lambda report: covers(report, event.stream, event.number, "unknown_key") and "rewritten" in whats(report)


TAMPERINGS: Final = (
    change_a_column, move_to_another_stream, delete_some, swap_two, insert_in_the_middle, append_behind_the_counter,
    cut_the_tail, remove_a_checkpoint, put_an_old_checkpoint_in_the_place_of_a_new_one,
    change_an_event_and_its_checkpoint, change_the_chains_values, seal_all_anew_with_another_key,
)  # fmt: skip


@pytest.fixture
def _short_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "AT_ONCE", 4)
    monkeypatch.setattr(sealer, "IN_ONE_GO", 2)
    monkeypatch.setattr(sealer, "WITNESS_SECONDS", 0.0)


@pytest.mark.usefixtures("_short_checkpoints")
@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck])
@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=4), seed=st.integers(0, 2**32))
def test_tampering_is_found_where_it_was_done(
    directory: Path, tamper: Callable[[random.Random, AuditEvent], Judge], sizes: list[int], seed: int
) -> None:
    pick, home = random.Random(seed), directory / new_id().hex
    with transaction.atomic():
        event = write_and_seal(home, sizes, pick)
        assert check(home).is_whole
        with unprotected():
            is_named = tamper(pick, event)
        report = check(home)
        transaction.set_rollback(True)
    assert not report.is_whole
    assert is_named(report), places(report)


def write_and_seal(home: Path, sizes: list[int], pick: random.Random) -> AuditEvent:
    """Two projects, sealed in several ticks; one of the sealed events."""
    one, projects = Sealer(home), [new_id(), new_id()]
    for size in sizes:
        write(projects[0], size)
        write(pick.choice(projects), size)
        one.tick(timezone.now())
    one.tick(timezone.now())
    return pick.choice(list(AuditEvent.objects.filter(stream=f"project:{projects[0]}")))
