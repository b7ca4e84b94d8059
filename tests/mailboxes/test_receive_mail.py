"""Leases, acks, redelivery, dead letters."""

from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenthub_site.accounts.actors import SYSTEM
from agenthub_site.accounts.models import Project
from audit.models import AuditEvent
from mailboxes.limits import ATTEMPTS
from mailboxes.models import Delivery
from mailboxes.reading import count_open, next_due
from mailboxes.services import ack, claim, inbox, receive, requeue, sweep
from mailboxes.settling import backoff, write_claims
from mailboxes.states import MOVES, State
from nodes.contract.errors import Invalid, NotFound, WrongState
from nodes.contract.ids import new_id
from tests.mailboxes.post import ANN, BEN, CEM, later, let_leases_end, mail


def test_what_is_due_is_leased_in_order_and_to_nobody_twice(project: Project) -> None:
    for number in range(5):
        mail(project, payload=number)
    first, second = receive(BEN, limit=3), receive(BEN, limit=3)
    assert [copy.payload for copy in (*first, *second)] == [0, 1, 2, 3, 4]
    assert {copy.state for copy in first} == {"leased"}
    assert all(at and at.tzinfo for copy in first for at in (copy.created_at, copy.due_at, copy.leased_until))
    assert (receive(BEN), receive(CEM), first[0].redelivered) == ([], [], 0)


def test_reading_leases_nothing_and_finding_nothing_writes_nothing(project: Project) -> None:
    mail(project)
    inbox(BEN)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert receive(CEM) == []
    assert len(queries) == 1
    assert len(receive(BEN)) == 1


def test_an_ack_says_whether_it_changed_anything(project: Project) -> None:
    first, second = mail(project), mail(project)
    receive(BEN, limit=1)
    foreign, missing = mail(project, CEM), new_id()
    acked = ack(BEN, [first.message_id, 1, second.message_id, foreign.message_id, missing, 99])
    assert [(each.changed, each.state, each.code) for each in acked] == [
        (True, "acked", ""),
        (False, "acked", ""),
        (True, "acked", ""),
        (False, "", "not_found"),
        (False, "", "not_found"),
        (False, "", "not_found"),
    ]
    assert [each.changed for each in ack(BEN, [1, 2])] == [False, False]
    assert (acked[0].number, acked[0].message_id) == (1, first.message_id)
    assert acked[0].acked_at is not None
    assert count_open(BEN) == 0


def test_an_ack_is_bound_to_a_run_and_to_projects(project: Project) -> None:
    sent = mail(project, run_id=new_id())
    assert ack(BEN, [1], run_id=new_id())[0].code == "not_found"
    assert ack(BEN, [1], projects=[new_id()])[0].code == "not_found"
    assert ack(BEN, [sent.message_id])[0].changed


def test_an_ack_leaves_runs_that_are_apart_alone_though_it_names_one(project: Project) -> None:
    theirs = new_id()
    mail(project, run_id=theirs)
    assert ack(BEN, [1], run_id=theirs, apart=[theirs])[0].code == "not_found"
    assert ack(BEN, [1], run_id=theirs)[0].changed


def test_an_id_that_is_none_is_not_found_and_stops_none_beside_it(project: Project) -> None:
    mail(project)
    acked = ack(BEN, ["nonsense", 0, -1, 2**70, 1])
    assert [(each.code, each.changed) for each in acked] == [*[("not_found", False)] * 4, ("", True)]


def test_a_lease_that_ran_out_comes_again_after_its_backoff_and_is_marked(project: Project) -> None:
    mail(project)
    (copy,) = receive(BEN, lease_seconds=30)
    assert sweep(timezone.now()) == 0
    assert sweep(later(seconds=31)) == 1
    assert receive(BEN) == []
    due = next_due(BEN)
    assert due is not None
    assert due > timezone.now()
    let_leases_end()
    (again,) = receive(BEN)
    assert (again.message_id, again.redelivered) == (copy.message_id, 1)


def test_a_redelivery_comes_after_later_mail_and_first_deliveries_stay_in_order(project: Project) -> None:
    for number in range(3):
        mail(project, payload=number)
    receive(BEN, limit=1)
    sweep(later(hours=13))
    assert [(copy.payload, copy.redelivered) for copy in receive(BEN)] == [(1, 0), (2, 0)]


def test_asked_again_with_its_key_it_is_the_same_lease(project: Project) -> None:
    for number in range(4):
        mail(project, payload=number)
    first = receive(BEN, limit=2, key="k")
    assert [(copy.payload, copy.leased_until) for copy in receive(BEN, limit=2, key="k")] == [
        (copy.payload, copy.leased_until) for copy in first
    ]
    assert {copy.redelivered for copy in receive(BEN, key="k")} == {0}
    assert [copy.payload for copy in receive(BEN, key="other")] == [2, 3]
    assert next_due(BEN, key="k") <= timezone.now() < next_due(BEN)  # type: ignore[operator]


def test_a_key_holds_nothing_that_is_acked_or_came_again(project: Project) -> None:
    mail(project, payload=1)
    mail(project, payload=2)
    receive(BEN, limit=1, key="k")
    ack(BEN, [1])
    assert [copy.payload for copy in receive(BEN, key="k")] == [2]
    let_leases_end()
    assert [copy.payload for copy in receive(BEN)] == [2]
    assert receive(BEN, key="k") == []


def test_two_askings_of_one_key_in_one_commit_get_the_same(project: Project) -> None:
    for _ in range(3):
        mail(project)
    wanted = claim(BEN, limit=2, key="k")
    with transaction.atomic():
        first, second = write_claims([wanted, wanted])
    assert first == second
    assert len(receive(BEN)) == 1


def test_after_the_last_attempt_it_is_dead_and_can_be_delivered_again(project: Project) -> None:
    sent = mail(project)
    for _ in range(ATTEMPTS):
        assert len(receive(BEN)) == 1
        let_leases_end()
    assert receive(BEN) == []
    (dead,) = inbox(BEN, state="dead").results
    assert dead.reason == "Its lease ran out."
    assert ack(BEN, [sent.message_id])[0].state == "dead"
    assert requeue(sent.message_id, by=SYSTEM) == [(BEN, 2)]
    (copy,) = receive(BEN)
    assert (copy.number, copy.message_id) == (2, sent.message_id)
    assert AuditEvent.objects.get(name="mail.requeued").data == {"recipients": [str(BEN)]}


def test_only_what_is_dead_is_delivered_again(project: Project) -> None:
    sent = mail(project)
    with pytest.raises(WrongState):
        requeue(sent.message_id, by=SYSTEM)
    with pytest.raises(NotFound):
        requeue(new_id(), by=SYSTEM)
    Delivery.objects.update(state="dead", settled_at=timezone.now())
    with pytest.raises(WrongState):
        requeue(sent.message_id, by=SYSTEM, to=[ANN])


def test_backoff_doubles_with_jitter_up_to_its_bound() -> None:
    for attempts, most in ((1, 2), (2, 4), (5, 32), (50, 300)):
        waits = {backoff(attempts).total_seconds() for _ in range(50)}
        assert most / 2 <= min(waits) < max(waits) <= most


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"limit": 501}, {"lease_seconds": 0.5}, {"lease_seconds": 1e9}, {"key": ""}]
)
def test_bounds_are_kept(project: Project, wrong: dict[str, Any]) -> None:
    mail(project)
    with pytest.raises(Invalid):
        receive(BEN, **wrong)
    with pytest.raises(Invalid):
        ack(BEN, [])
    assert inbox(BEN).results[0].state == "queued"


def test_a_page_of_an_inbox_is_read_with_two_queries_whatever_it_holds(project: Project) -> None:
    for _ in range(20):
        mail(project, BEN, CEM)
    with CaptureQueriesContext(connection) as queries:
        assert len(inbox(BEN, limit=20).results) == 20
    assert len(queries) == 2


def test_every_state_leads_somewhere_or_is_an_end() -> None:
    assert set(MOVES) == set(State)
    assert {state for state, onward in MOVES.items() if not onward} == {State.ACKED}
