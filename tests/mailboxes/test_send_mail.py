"""Sending: numbered, idempotent by key, bounded."""

from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agenthub_site.accounts.models import Project
from mailboxes import limits
from mailboxes.addresses import Address
from mailboxes.errors import DedupeConflict, HopLimit, PayloadTooDeep, PayloadTooLarge
from mailboxes.models import Delivery, Inbox, Message
from mailboxes.services import inbox, send
from nodes.contract.errors import HubError, Invalid, NotFound
from nodes.contract.ids import new_id
from tests.factories import make_project
from tests.mailboxes.post import ANN, BEN, CEM, mail


def test_each_recipient_gets_a_copy_with_the_next_number_of_their_inbox(project: Project) -> None:
    mail(project, BEN)
    sent = mail(project, BEN, CEM, payload={"text": "Grüße 🚢", "deep": [1, None]}, subject="Quay")
    assert sent.deliveries == ((BEN, 2), (CEM, 1))
    (copy,) = inbox(CEM).results
    assert (copy.payload, copy.subject, copy.sender, copy.state) == (
        {"text": "Grüße 🚢", "deep": [1, None]}, "Quay", ANN, "queued",
    )  # fmt: skip


def test_the_same_recipient_twice_is_one_copy(project: Project) -> None:
    assert mail(project, BEN, BEN).deliveries == ((BEN, 1),)


def test_the_same_key_and_content_is_the_same_message(project: Project) -> None:
    first, again = (mail(project, BEN, CEM, dedupe_key="k") for _ in range(2))
    assert (first.created, again.created, again.message_id) == (True, False, first.message_id)
    assert dict(again.deliveries) == dict(first.deliveries)
    assert (Message.objects.count(), inbox(BEN).last_number) == (1, 1)


@pytest.mark.parametrize(
    "other",
    [{"payload": {"n": 2}}, {"subject": "x"}, {"kind": "question"}, {"to": (CEM,)}, {"run_id": UUID(int=9)}],
    ids=str,
)
def test_the_same_key_with_other_content_is_a_conflict_and_changes_nothing(
    project: Project, other: dict[str, Any]
) -> None:
    first = mail(project, dedupe_key="k")
    with pytest.raises(DedupeConflict) as refused:
        mail(project, *other.pop("to", ()), dedupe_key="k", **other)
    assert refused.value.data["message_id"] == str(first.message_id)
    assert Delivery.objects.count() == 1


def test_a_key_is_the_senders_own_in_its_project(project: Project) -> None:
    sent = [mail(project, dedupe_key="k"), mail(project, sender=CEM, dedupe_key="k")]
    sent.append(mail(make_project("shipyard"), dedupe_key="k"))
    assert [each.created for each in sent] == [True, True, True]


def test_a_broadcast_repeated_after_somebody_joined_is_the_same_message(project: Project) -> None:
    first = mail(project, BEN, audience="team:all", dedupe_key="k")
    again = mail(project, BEN, CEM, audience="team:all", dedupe_key="k")
    assert (again.created, again.deliveries) == (False, first.deliveries)


def test_an_answer_counts_one_hop_more_up_to_the_limit(project: Project) -> None:
    first = mail(project, BEN)
    second = mail(project, ANN, sender=BEN, reply_to=first.message_id)
    assert (first.hop_count, second.hop_count) == (0, 1)
    with pytest.raises(HopLimit) as refused:
        mail(project, BEN, reply_to=second.message_id, most_hops=1)
    assert refused.value.data == {"hop_count": 2, "limit": 1}
    assert mail(project, BEN, hop_count=7).hop_count == 7
    assert Message.objects.count() == 3


def test_one_answers_only_what_one_sent_or_got(project: Project) -> None:
    first = mail(project, BEN)
    elsewhere = mail(make_project("shipyard"), BEN)
    for sender, reply_to in ((CEM, first.message_id), (BEN, elsewhere.message_id), (BEN, new_id())):
        with pytest.raises(NotFound):
            mail(project, ANN, sender=sender, reply_to=reply_to)
    assert mail(project, BEN, reply_to=first.message_id).hop_count == 1


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("refusal", "unfit"),
    [
        (PayloadTooLarge, {"payload": "x" * 1_000_000}),
        (PayloadTooDeep, {"payload": nested(limits.PAYLOAD_DEPTH + 1)}),
        (PayloadTooDeep, {"payload": nested(100_000)}),
        (Invalid, {"payload": float("nan")}),
        (Invalid, {"payload": {"half": "\ud800"}}),
        (Invalid, {"payload": {1, 2}}),
        (Invalid, {"subject": "x" * 201}),
        (Invalid, {"subject": "a\x00b"}),
        (Invalid, {"kind": "Not a kind"}),
        (Invalid, {"dedupe_key": ""}),
        (Invalid, {"dedupe_key": "k" * 129}),
        (Invalid, {"hop_count": -1}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else next(iter(value)),
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    project: Project, refusal: type[HubError], unfit: dict[str, Any]
) -> None:
    with pytest.raises(refusal):
        mail(project, **unfit)
    with pytest.raises(Invalid):
        send(project.pk, ANN, [], {})
    assert (Message.objects.count(), Inbox.objects.count()) == (0, 0)


def test_what_just_fits_is_taken(project: Project) -> None:
    payload = {"text": "x" * (limits.PAYLOAD_BYTES - len('{"text":""}'))}
    mail(project, payload=payload)
    mail(project, payload=nested(limits.PAYLOAD_DEPTH))
    assert inbox(BEN).results[0].payload == payload


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=JSON)
def test_whatever_json_goes_in_comes_out(project: Project, payload: Any) -> None:
    try:
        sent = send(project.pk, ANN, [BEN], payload)
    except Invalid:
        return  # half a surrogate pair
    number = sent.deliveries[0][1]
    (copy,) = inbox(BEN, after=number - 1).results
    assert copy.payload == payload


@pytest.mark.parametrize("text", ["agent", "ghost:1", "agent:", f"user:{'x' * 65}", "user:a\nb", ""])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Address.parse(text)


def test_pages_follow_each_other_and_end(project: Project) -> None:
    for number in range(1, 6):
        mail(project, payload=number)
    first = inbox(BEN, limit=3)
    second = inbox(BEN, after=first.next, limit=3)
    assert [copy.payload for copy in (*first.results, *second.results)] == [1, 2, 3, 4, 5]
    assert (second.next, second.last_number, inbox(BEN, after=5).results) == (5, 5, [])


def test_an_inbox_is_narrowed_to_a_run_a_state_and_projects(project: Project) -> None:
    mail(project, payload=1, run_id=UUID(int=7))
    mail(make_project("shipyard"), payload=2)
    assert [copy.payload for copy in inbox(BEN, run_id=UUID(int=7)).results] == [1]
    assert [copy.payload for copy in inbox(BEN, projects=[project.pk]).results] == [1]
    assert [copy.payload for copy in inbox(BEN, state="open").results] == [1, 2]
    assert inbox(BEN, state="acked").results == []
    for wrong in ({"state": "gone"}, {"limit": 0}, {"limit": 501}, {"after": -1}):
        with pytest.raises(Invalid):
            inbox(BEN, **wrong)


def test_an_inbox_that_cannot_be_read_is_no_empty_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise DatabaseError

    mail(project)
    with monkeypatch.context() as patch, pytest.raises(DatabaseError):
        patch.setattr("django.db.backends.utils.CursorWrapper.execute", broken)
        inbox(BEN)
