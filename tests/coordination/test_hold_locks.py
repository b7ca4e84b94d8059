"""Locks end by themselves, and their fencing number only grows."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone

from agenthub_site.accounts.actors import Actor
from agents.coordination.errors import LockConflict, LockNotHeld
from agents.coordination.models import Lock
from agents.coordination.services.locks import REMOVED_AFTER, acquire_lock, release_lock, remove_free
from audit.models import AuditEvent
from nodes.contract.errors import Invalid
from tests.support import eventually

from .conftest import Crew


def expire() -> None:
    Lock.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def test_a_held_lock_says_who_has_it_and_until_when(crew: Crew) -> None:
    acquire_lock("main", by=crew.wim)
    with pytest.raises(LockConflict) as refused:
        acquire_lock("main", by=crew.zoe)
    assert refused.value.data["holder"] == "wim"
    with pytest.raises(LockConflict):
        acquire_lock("main", by=crew.wim)  # not re-entrant


def test_the_fencing_number_grows_over_release_and_expiry(crew: Crew) -> None:
    numbers = [acquire_lock("main", by=crew.wim).fencing_number]
    release_lock("main", by=crew.wim)
    numbers.append(acquire_lock("main", by=crew.wim).fencing_number)
    expire()
    numbers.append(acquire_lock("main", by=crew.zoe).fencing_number)
    assert numbers == [1, 2, 3]


def test_the_holder_prolongs_it_by_its_number_and_nobody_else_does(crew: Crew) -> None:
    lock = acquire_lock("main", by=crew.wim, ttl_seconds=5)
    again = acquire_lock("main", by=crew.wim, ttl_seconds=500, fencing_number=1)
    assert again.expires_at and lock.expires_at
    assert (again.fencing_number, again.expires_at > lock.expires_at) == (1, True)
    for actor, number in ((crew.zoe, 1), (crew.wim, 7)):
        with pytest.raises(LockNotHeld):
            acquire_lock("main", by=actor, fencing_number=number)
    expire()
    with pytest.raises(LockNotHeld):
        acquire_lock("main", by=crew.wim, fencing_number=1)


def test_only_its_holder_releases_it_and_once(crew: Crew) -> None:
    acquire_lock("main", by=crew.wim)
    with pytest.raises(LockNotHeld):
        release_lock("main", by=crew.zoe)
    with pytest.raises(LockNotHeld):
        release_lock("main", by=crew.wim, fencing_number=2)
    release_lock("main", by=crew.wim, fencing_number=1)
    with pytest.raises(LockNotHeld):
        release_lock("main", by=crew.wim)


def test_a_lock_of_another_project_is_another_lock(crew: Crew, eve: Actor) -> None:
    acquire_lock("main", by=crew.wim)
    assert acquire_lock("main", by=eve).fencing_number == 1


def test_free_rows_are_removed_and_numbers_grow_on_all_the_same(crew: Crew, eve: Actor) -> None:
    now = timezone.now()
    held = acquire_lock("held", by=crew.wim)
    numbers = {}
    for key in ("a", "b", "c"):
        numbers[key] = acquire_lock(key, by=crew.wim).fencing_number
        release_lock(key, by=crew.wim)
    acquire_lock("over", by=crew.zoe)
    Lock.objects.filter(key="over").update(expires_at=now - timedelta(hours=1), fencing_number=0)
    acquire_lock("main", by=eve)
    assert (remove_free(now), remove_free(now)) == (2, 0)
    assert set(Lock.objects.values_list("key", flat=True)) == {"held", "c", "over", "main"}
    assert remove_free(now + REMOVED_AFTER + timedelta(hours=1)) == 2  # they ran out a day ago
    assert set(Lock.objects.values_list("key", flat=True)) == {"c", "main"}
    for key, before in (*numbers.items(), ("held", held.fencing_number)):
        assert acquire_lock(key, by=crew.zoe).fencing_number > before


def test_a_row_that_came_and_went_while_another_looked_repeats_no_number(crew: Crew) -> None:
    """Forced: all of it happens right after the first look of ``acquire_lock``."""
    numbers: list[int] = []

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen = execute(sql, params, many, context)
        if not numbers and Lock._meta.db_table in sql:
            numbers.append(0)
            numbers.append(come_and_go(crew))
        return seen

    with connection.execute_wrapper(look):
        numbers.append(acquire_lock("main", by=crew.wim).fencing_number)
    assert numbers[2] > numbers[1] > 0


def come_and_go(crew: Crew) -> int:
    """The number under which ``main`` was held, whose row is removed since."""
    number = acquire_lock("main", by=crew.zoe).fencing_number
    release_lock("main", by=crew.zoe)
    acquire_lock("other", by=crew.zoe)
    assert remove_free(timezone.now()) == 1
    return number


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's transactions take turns")
def test_no_row_comes_and_goes_between_the_greatest_number_and_the_new_row(crew: Crew) -> None:
    has_read, goes_on, is_done = Event(), Event(), Event()

    def pause(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen = execute(sql, params, many, context)
        if "MAX(" in sql:
            has_read.set()
            assert goes_on.wait(30)
        return seen

    def first() -> int:
        try:
            with connection.execute_wrapper(pause):
                return acquire_lock("main", by=crew.wim).fencing_number
        finally:
            connections.close_all()

    def second() -> None:
        try:
            come_and_go(crew)
        except LockConflict:  # the first was first
            pass
        finally:
            is_done.set()
            connections.close_all()

    def waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return bool(cursor.fetchall())

    with ThreadPoolExecutor(2) as threads:
        number = threads.submit(first)
        assert has_read.wait(30)
        rival = threads.submit(second)
        try:
            eventually(lambda: is_done.is_set() or waits())
        finally:
            goes_on.set()
        number.result(), rival.result()
    held = list(AuditEvent.objects.filter(name="lock.acquired", data__key="main").values_list("data", flat=True))
    assert len({each["fencing_number"] for each in held}) == len(held)


def test_a_key_is_the_same_with_blanks_around_it(crew: Crew) -> None:
    assert acquire_lock(" main ", by=crew.wim).key == "main"
    assert release_lock(" main ", by=crew.wim).holder is None
    with pytest.raises(Invalid):
        release_lock("", by=crew.wim)


@pytest.mark.parametrize("ttl", [0, -1, 86_401])
def test_a_lock_lives_for_a_second_to_a_day(crew: Crew, ttl: int) -> None:
    with pytest.raises(Invalid):
        acquire_lock("main", by=crew.wim, ttl_seconds=ttl)
    assert not Lock.objects.exists()
