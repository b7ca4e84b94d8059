"""The writer: concurrent sends share commits, and one that fails takes none with it."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError, Event
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenthub_site.accounts.models import Project
from mailboxes import sending
from mailboxes import settling as settling_module
from mailboxes import writer as module
from mailboxes.addresses import Address
from mailboxes.errors import DedupeConflict
from mailboxes.models import Delivery, Message
from mailboxes.reading import lock_inboxes
from mailboxes.sending import Draft, Sent, write_drafts
from mailboxes.services import ack, claim, draft, inbox, let_go, mark_told, receive, settling
from mailboxes.settling import Claim, write_acks, write_claims
from mailboxes.writer import Writer
from nodes.contract.errors import HubError, Unavailable
from nodes.contract.ids import new_id
from tests.mailboxes.post import ANN, BEN, CEM, mail

pytestmark = pytest.mark.django_db(transaction=True)


def in_threads(count: int, work: object) -> list[object]:
    def run(number: int) -> object:
        try:
            return work(number)  # type: ignore[operator]
        except HubError as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def test_concurrent_senders_get_dense_numbers_and_each_an_answer(project: Project) -> None:
    sent = in_threads(16, lambda number: mail(project, payload=number))
    numbers = sorted(each.deliveries[0][1] for each in sent if isinstance(each, Sent))
    assert numbers == list(range(1, 17))
    assert {copy.payload for copy in inbox(BEN).results} == set(range(16))


def test_concurrent_sends_with_one_key_are_one_message(project: Project) -> None:
    sent = in_threads(8, lambda number: mail(project, payload=number % 2, dedupe_key="k"))
    created = [each for each in sent if isinstance(each, Sent) and each.created]
    assert len(created) == 1
    assert sum(isinstance(each, DedupeConflict) for each in sent) == 4
    assert Message.objects.count() == 1


def test_concurrent_receivers_share_without_overlap(project: Project) -> None:
    for number in range(24):
        mail(project, payload=number)
    got = in_threads(6, lambda _: [copy.payload for copy in receive(BEN, limit=4)])
    assert sorted(number for part in got for number in part) == list(range(24))  # type: ignore[attr-defined]


def test_of_concurrent_acks_one_changes_something(project: Project) -> None:
    sent = mail(project)
    acked = in_threads(6, lambda _: ack(BEN, [sent.message_id])[0].changed)
    assert sorted(acked) == [False] * 5 + [True]  # type: ignore[type-var]


def test_a_send_that_fails_leaves_those_beside_it(project: Project) -> None:
    drafts = [draft(project.pk, ANN, [BEN], number) for number in range(3)]
    drafts[1] = draft(UUID(int=1), ANN, [BEN], "of a project that is not there")
    jobs = [module._Job(write_drafts, made) for made in drafts]
    module.commit(jobs)
    assert [isinstance(job.done.exception(), IntegrityError) for job in jobs] == [False, True, False]
    assert [copy.payload for copy in inbox(BEN).results] == [0, 2]


def test_two_processes_with_one_key_send_one_message(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    first = mail(project, payload=1, dedupe_key="k")
    read, blind = sending._read_kept, [False, True]

    def read_before_the_other_has_written(drafts: Sequence[Draft]) -> object:
        return {} if blind.pop() else read(drafts)

    monkeypatch.setattr(sending, "_read_kept", read_before_the_other_has_written)
    job = module._Job(write_drafts, draft(project.pk, ANN, [BEN], 1, dedupe_key="k"))
    module.commit([job])
    assert (job.done.result().message_id, job.done.result().created) == (first.message_id, False)
    assert [copy.payload for copy in inbox(BEN).results] == [1]


def test_nothing_is_answered_before_the_commit_and_a_lost_commit_is_called_unknown(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: object) -> None:
        raise OperationalError("server closed the connection")

    jobs = [module._Job(write_drafts, draft(project.pk, ANN, [BEN], number)) for number in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.commit", lost)
        module.commit(jobs)
    for job in jobs:
        assert isinstance(job.done.exception(), Unavailable)
    assert Delivery.objects.count() == 0


def test_the_thread_ends_when_idle_and_begins_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    mine = Writer()
    for _ in range(3):
        mine.write(write_drafts, draft(project.pk, ANN, [BEN], 1))
        thread = mine._thread
        if thread:
            thread.join(5)
        assert mine._thread is None
    assert inbox(BEN).last_number == 3


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Writer, Event]]:
    """A writer whose thread is busy until the event is set, and callers that wait for 50 ms."""
    mine, has_begun, may_go_on = Writer(), Event(), Event()

    def stall(items: Sequence[None]) -> Sequence[None]:
        has_begun.set()
        may_go_on.wait(20)
        return items

    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    stalling = mine.submit(stall, None)
    assert has_begun.wait(10)
    yield mine, may_go_on
    may_go_on.set()
    stalling.result(20)


def test_what_was_begun_when_time_was_over_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 1)
    may_go_on = Event()

    def stall(items: Sequence[int]) -> Sequence[int]:
        may_go_on.wait(20)
        return items

    with pytest.raises(Unavailable, match="nobody knows"):
        Writer().write(stall, 1)
    may_go_on.set()


async def test_what_nobody_waits_for_any_more_is_never_written(stalled: tuple[Writer, Event]) -> None:
    mine, may_go_on = stalled
    written: list[str] = []

    def write(items: Sequence[str]) -> Sequence[str]:
        written.extend(items)
        return items

    with pytest.raises(Unavailable, match="was not written"):
        await asyncio.to_thread(mine.write, write, "given up")
    with pytest.raises(Unavailable, match="was not written"):
        await mine.write_async(write, "given up as well")
    wanted = mine.submit(write, "wanted")
    may_go_on.set()
    await asyncio.to_thread(wanted.result, 10)
    assert written == ["wanted"]


def test_no_more_waits_than_is_told(stalled: tuple[Writer, Event], monkeypatch: pytest.MonkeyPatch) -> None:
    mine, _ = stalled
    monkeypatch.setattr(module, "WAITING", 2)
    for _ in range(2):
        mine.submit(lambda items: items, None)
    with pytest.raises(Unavailable, match="was not written"):
        mine.submit(lambda items: items, None)


def tries_of(items: Sequence[int], *bad: int) -> list[int]:
    """How many items each transaction had."""
    sizes = []

    def work(part: Sequence[int]) -> Sequence[int]:
        sizes.append(len(part))
        if set(bad) & set(part):
            raise OperationalError("database is locked")
        return part

    jobs = [module._Job(work, item) for item in items]
    module.commit(jobs)
    assert [job.item for job in jobs if job.done.exception()] == list(bad)
    return sizes


def test_one_that_fails_is_found_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tries_of(range(256), 255) == [256, 128, 128, 64, 64, 32, 32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1]
    monkeypatch.setattr(module, "WAIT_SECONDS", 0)
    assert tries_of(range(256), *range(256)) == [256]  # nobody waits any more


def claims_of(*recipients: Address) -> list[Claim]:
    return [claim(recipient, limit=1) for recipient in recipients]


@pytest.fixture
def halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two claims wait for each other once each has its first rows, if both get so far."""
    barrier = Barrier(2)

    def due(*given: Any) -> list[int]:
        numbers = take(*given)
        with suppress(BrokenBarrierError):
            barrier.wait(0.3)
        return numbers

    take = settling_module._due
    monkeypatch.setattr(settling_module, "_due", due)


@pytest.mark.usefixtures("halfway")
def test_claims_of_several_inboxes_in_any_order_wait_for_no_one_that_waits_for_them(project: Project) -> None:
    for _ in range(2):
        mail(project, BEN, CEM)

    def work(number: int) -> list[int]:
        with transaction.atomic():
            answers = write_claims(claims_of(BEN, CEM) if number else claims_of(CEM, BEN))
        return [len(answer) for answer in answers if isinstance(answer, list)]

    assert in_threads(2, work) == [[1, 1], [1, 1]]


@pytest.mark.usefixtures("halfway")
def test_claims_and_acks_written_together_wait_for_no_one_that_waits_for_them(project: Project) -> None:
    sent = mail(project, BEN, CEM)
    written: list[int] = []

    def claims(items: Sequence[Claim]) -> list[Any]:
        written.append(len(items))
        return list(write_claims(items))

    def work(number: int) -> list[int]:
        mine, other = (BEN, CEM) if number else (CEM, BEN)
        jobs = [module._Job(claims, each) for each in claims_of(mine)]
        jobs.append(module._Job(write_acks, settling(other, [sent.message_id])))
        module.commit(jobs)
        return [len(job.done.result(0)) for job in jobs]

    in_threads(2, work)
    assert written == [1, 1]  # nothing had to be tried again
    assert set(Delivery.objects.values_list("state", flat=True)) == {"acked"}


def test_inboxes_are_locked_in_the_order_in_which_numbers_are_taken(project: Project) -> None:
    addresses = [Address("user", "b"), Address("agent", "b"), Address("user", "B"), Address("user", "a-1"), BEN]
    mail(project, *addresses)
    with transaction.atomic(), CaptureQueriesContext(connection) as seen:
        found = lock_inboxes({*addresses, CEM})
    assert found.keys() == set(addresses) and len(seen) == 1
    if connection.features.has_select_for_update:
        assert list(found) == sorted(addresses) and "FOR NO KEY UPDATE" in seen[0]["sql"]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's transactions take turns")
def test_what_a_run_lets_go_waits_for_the_inbox_and_not_for_its_rows(project: Project) -> None:
    """An ack under way holds the inbox, and locks rows in an order of its own."""
    run = new_id()
    for number in (1, 2):
        mail(project)
        with transaction.atomic():
            mark_told(BEN, number, run, timezone.now())
    holds, is_let_go = Event(), Event()

    def take_part(number: int) -> object:
        if number == 0:
            with transaction.atomic():
                lock_inboxes([BEN])
                holds.set()
                time.sleep(0.3)
                assert not is_let_go.is_set()
                return Delivery.objects.select_for_update(nowait=True, no_key=True).count()
        holds.wait(10)
        with transaction.atomic():
            let_go(run, is_untaken=True)
        is_let_go.set()
        return "let go"

    assert in_threads(2, take_part) == [2, "let go"]
