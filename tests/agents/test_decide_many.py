"""Many answers at once: each by itself, in order, and never a lasting one."""

import pytest
from django.utils import timezone

from agenthub_site.accounts.authentication import actor_of
from agenthub_site.accounts.models import User
from agents.models import Approval, Run
from agents.services.approvals import MOST_AT_ONCE, decide_approval, decide_approvals
from nodes.contract.errors import HubError, Invalid
from nodes.contract.ids import new_id
from nodes.models import Command
from tests.factories import make_approval

pytestmark = pytest.mark.django_db


def with_options(run: Run, *kinds: str) -> Approval:
    approval = make_approval(run)
    approval.request["options"] = [{"option_id": f"the-{kind}", "name": kind, "kind": kind} for kind in kinds]
    approval.save(update_fields=["request"])
    return approval


def told(results: list[Approval | HubError]) -> list[str]:
    return [result.code if isinstance(result, HubError) else result.option_id or result.outcome for result in results]


def test_each_gets_its_own_option_of_the_kind(run: Run, bob: User) -> None:
    rows = [
        with_options(run, "allow_always", "allow_once", "reject_always"),
        with_options(run, "reject_once", "allow_once"),
        with_options(run, "allow_always"),
    ]
    answers = decide_approvals([row.pk for row in rows], "allow_once", by=actor_of(bob))
    assert told(answers) == ["the-allow_once", "the-allow_once", "invalid"], "always is not to be had in bulk"


def test_no_is_this_once_or_a_cancel(run: Run, bob: User) -> None:
    rows = [with_options(run, "reject_always", "reject_once"), with_options(run, "allow_once", "reject_always")]
    assert told(decide_approvals([row.pk for row in rows], "reject", by=actor_of(bob))) == [
        "the-reject_once",
        "cancelled",
    ]


def test_a_refusal_stops_none_behind_it(run: Run, alice: User, bob: User, charlie: User) -> None:
    taken, late, free = make_approval(run), make_approval(run, expires_at=timezone.now()), make_approval(run)
    decide_approval(taken, by=actor_of(alice), option_id="no")
    ids = [taken.pk, new_id(), late.pk, free.pk]
    answers = decide_approvals(ids, "allow_once", by=actor_of(bob))
    assert told(answers) == ["already_decided", "not_found", "approval_expired", "yes"]
    assert told(decide_approvals(ids, "allow_once", by=actor_of(charlie))) == ["not_found"] * 4


def test_sent_again_it_is_told_as_given(run: Run, bob: User) -> None:
    ids = [make_approval(run).pk for _ in range(2)]
    for _ in range(2):
        assert told(decide_approvals(ids, "reject", by=actor_of(bob))) == ["no", "no"]
    assert told(decide_approvals(ids, "allow_once", by=actor_of(bob))) == ["already_decided"] * 2
    assert Command.objects.count() == 2


def test_too_many_are_refused_whole(bob: User) -> None:
    with pytest.raises(Invalid):
        decide_approvals([new_id() for _ in range(MOST_AT_ONCE + 1)], "reject", by=actor_of(bob))
